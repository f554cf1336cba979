/* The steps of a webhook request: method, source, checks without the body, body, signature, queue. */
#include "webhook/webhook.h"
#include "kept/kept.h"

#include "config/keyring.h"
#include "kept/kept.h"
#include "webhook/auth.h"

#include <stdlib.h>
#include <string.h>

/* Close waits 15 s for an answer; the rest is for the network. */
#define ANSWER_WITHIN_MS 12000

struct webhook {
    struct auth auth;
    append_function *append;
    void *queue; /* borrowed */
    struct refusal_log log;
    bool catches_up; /* a key that is not known may have to be fetched first */
};

/* The state of one request. */
struct webhook_request {
    struct webhook *webhook;
    struct request *request;
    struct auth_snapshot *snapshot; /* the keys that were current when it arrived */
    bool renewed;                   /* new keys were already checked for */
    enum choice choice;
    const struct source_auth *auth; /* NULL: unknown, or not yet determined */
    struct request_keys keys;
    struct signature signature;
    bool by_write_key; /* authenticated by write key alone (`signature_key = none`) */
    size_t signer;     /* index of the key that signed it */
    const char *body;  /* NULL: not read yet */
    size_t length;
    struct error why; /* details of a refusal; "": none */
};

static bool is_method(const struct webhook_request *hook, const char *name)
{
    const char *method = request_variable(hook->request, "REQUEST_METHOD");
    return method != NULL && strcmp(method, name) == 0;
}

static bool is_signed(const struct webhook_request *hook)
{
    return request_header(hook->request, "CLOSE_SIG_HASH") != NULL;
}

static void collect_write_keys(struct webhook_request *hook)
{
    char key[256];
    if (request_query(hook->request, "writeKey", key, sizeof key))
        request_keys_add(&hook->keys, key);
    if (request_basic_user(hook->request, key, sizeof key))
        request_keys_add(&hook->keys, key);
}

static enum refusal find_source(struct webhook_request *hook)
{
    hook->keys.count = 0;
    collect_write_keys(hook);
    hook->choice = auth_choose_source(&hook->snapshot->table, request_path(hook->request), &hook->keys, is_signed(hook),
                                      &hook->auth);
    if (hook->choice == CHOSEN_UNKNOWN)
        return REFUSED_UNKNOWN_SOURCE;
    if (hook->choice == CHOSEN_NONE && hook->snapshot->table.any_incomplete && is_signed(hook))
        return REFUSED_NO_KEY;
    if (hook->choice == CHOSEN_NONE)
        return hook->keys.count > 0 ? REFUSED_WRITE_KEY : REFUSED_UNCLEAR_SOURCE;
    return REFUSAL_NONE;
}

/* Checks the method. A GET by a browser is answered that the address is right, unless it is wrong. */
static enum refusal check_method(struct webhook_request *hook)
{
    if (is_method(hook, "POST"))
        return REFUSAL_NONE;
    const struct config *config = hook->webhook->auth.config;
    bool has_page = config->admin == ADMIN_SERVER || config->admin_password != NULL;
    bool person = is_method(hook, "GET") || is_method(hook, "HEAD");
    if (person && find_source(hook) == REFUSED_UNKNOWN_SOURCE)
        return REFUSED_UNKNOWN_SOURCE;
    if (person)
        error_set(&hook->why,
                  WEBHOOK_GREETING
                  "; other requests are not taken. To see how it does, %srun `closecrm.fcgi check` on the "
                  "server",
                  has_page ? "look at .../status, or " : "");
    return REFUSED_METHOD;
}

/* Returns the timestamp tolerance: the source's, or while the source is unknown, the largest of all. */
static int64_t tolerance_of(const struct webhook_request *hook)
{
    if (hook->auth != NULL)
        return hook->auth->source->signature_tolerance_ms;
    int64_t most = 0;
    const struct auth_table *table = &hook->snapshot->table;
    for (size_t i = 0; i < table->count; i++) {
        if (table->at[i].source->signature_tolerance_ms > most)
            most = table->at[i].source->signature_tolerance_ms;
    }
    return most;
}

static enum refusal check_time(struct webhook_request *hook)
{
    int64_t now = clock_unix_ms();
    int64_t tolerance = tolerance_of(hook);
    if (signature_is_current(&hook->signature, now, tolerance))
        return REFUSAL_NONE;
    long long seconds = (long long)(signature_age_ms(&hook->signature, now) / 1000);
    error_set(&hook->why,
              "close-sig-timestamp is %lld seconds %s this machine's time, and signature_tolerance allows %lld: is the "
              "clock of this machine right?",
              seconds < 0 ? -seconds : seconds, seconds < 0 ? "ahead of" : "behind", (long long)(tolerance / 1000));
    return REFUSED_SIGNATURE_TIME;
}

static enum refusal read_signature(struct webhook_request *hook)
{
    const char *hash = request_header(hook->request, "CLOSE_SIG_HASH");
    const char *timestamp = request_header(hook->request, "CLOSE_SIG_TIMESTAMP");
    if (hash == NULL || timestamp == NULL)
        return REFUSED_NO_SIGNATURE;
    if (!signature_read_hash(&hook->signature, hash) || !signature_read_timestamp(&hook->signature, timestamp))
        return REFUSED_SIGNATURE_FORM;
    return check_time(hook);
}

/* All checks that need no body. */
static enum refusal check_claim(struct webhook_request *hook)
{
    hook->by_write_key = false;
    if (hook->auth != NULL && hook->auth->locked) {
        hook->why = hook->auth->reason;
        return REFUSED_NO_KEY;
    }
    if (hook->auth != NULL && hook->auth->source->signature_none && source_auth_accepts(hook->auth, &hook->keys)) {
        hook->by_write_key = true;
        return REFUSAL_NONE;
    }
    if (hook->auth == NULL || hook->auth->signers.count > 0)
        return read_signature(hook);
    if (source_auth_accepts(hook->auth, &hook->keys))
        return REFUSAL_NONE;
    return hook->keys.count > 0 ? REFUSED_WRITE_KEY : REFUSED_NO_WRITE_KEY;
}

static enum refusal read_body(struct webhook_request *hook)
{
    if (hook->body != NULL)
        return REFUSAL_NONE;
    static const enum refusal refusals[] = {
        [BODY_OK] = REFUSAL_NONE,           [BODY_EMPTY] = REFUSED_EMPTY_BODY,
        [BODY_SHORT] = REFUSED_SHORT_BODY,  [BODY_TOO_LARGE] = REFUSED_LARGE_BODY,
        [BODY_NO_ROOM] = REFUSED_NO_MEMORY,
    };
    return refusals[request_body(hook->request, &hook->body, &hook->length, &hook->why)];
}

static enum refusal check_signers(struct webhook_request *hook, const struct signers *signers)
{
    static const enum refusal refusals[] = {
        [SIGNATURE_GOOD] = REFUSAL_NONE,
        [SIGNATURE_WRONG] = REFUSED_SIGNATURE,
    };
    size_t which;
    enum signature_result result = signature_find(&hook->signature, signers, hook->body, hook->length, &which);
    if (result == SIGNATURE_GOOD)
        hook->signer = which;
    return refusals[result];
}

/* Finds the source by its key, trying all keys of all sources. */
static enum refusal find_signer(struct webhook_request *hook)
{
    const struct auth_table *table = &hook->snapshot->table;
    size_t found = 0;
    for (size_t i = 0; i < table->count; i++) {
        enum refusal refusal = check_signers(hook, &table->at[i].signers);
        if (refusal == REFUSAL_NONE && hook->auth == NULL) {
            hook->auth = &table->at[i];
            found = hook->signer;
        }
    }
    hook->signer = found;
    if (hook->auth != NULL)
        return check_time(hook);
    return table->any_incomplete ? REFUSED_NO_KEY : REFUSED_SIGNATURE;
}

static enum refusal check_signature(struct webhook_request *hook)
{
    if (hook->auth == NULL)
        return find_signer(hook);
    const struct source_auth *auth = hook->auth;
    if (hook->by_write_key || auth->signers.count == 0)
        return REFUSAL_NONE;
    enum refusal refusal = check_signers(hook, &auth->signers);
    if (refusal == REFUSED_SIGNATURE && auth->incomplete)
        error_set(&hook->why, "the signature does not match any key that is held, and %s", auth->reason.text);
    return refusal;
}

/* Records a key's first use, by which `rotate` knows that a new subscription delivers. */
static void note_use(const struct webhook_request *hook)
{
    const struct source_auth *auth = hook->auth;
    size_t configured = auth->signers.count - auth->held_count;
    if (auth->held_count == 0 || hook->by_write_key || hook->signer < configured)
        return;
    size_t held = hook->signer - configured;
    if (auth->held[held][0] == '\0' || atomic_exchange(&auth->used[held], true))
        return;
    request_blocks(hook->request);
    keyring_mark_used(hook->webhook->auth.config->state_dir, auth->held[held]);
}

/* Whether it is no event, but a probe: authenticated as every event, and what Close never sends. Of a source that takes
 * its write key only the one body counts. */
static bool is_probe(const struct webhook_request *hook)
{
    size_t length = sizeof WEBHOOK_PROBE - 1;
    if (hook->length == sizeof WEBHOOK_TEST - 1 && memcmp(hook->body, WEBHOOK_TEST, hook->length) == 0)
        return true;
    return !hook->by_write_key && hook->auth->signers.count > 0 && hook->length >= length &&
           memcmp(hook->body, WEBHOOK_PROBE, length) == 0;
}

/* Whether a newly obtained key could change this refusal. */
static bool may_new_keys_help(const struct webhook_request *hook, enum refusal refusal)
{
    bool of_keys = refusal == REFUSED_SIGNATURE || refusal == REFUSED_NO_WRITE_KEY || refusal == REFUSED_WRITE_KEY ||
                   refusal == REFUSED_UNCLEAR_SOURCE || refusal == REFUSED_NO_KEY;
    return of_keys && is_signed(hook);
}

/* Whether there are new keys, so the request must be checked again. */
static bool try_new_keys(struct webhook_request *hook, enum refusal refusal)
{
    if (hook->renewed || !may_new_keys_help(hook, refusal))
        return false;
    hook->renewed = true;
    if (hook->webhook->catches_up)
        kept_catch_up(hook->webhook->auth.config, NULL); /* else what is known goes on being used */
    if (!auth_refresh(&hook->webhook->auth))
        return false;
    auth_release(&hook->webhook->auth, hook->snapshot);
    hook->snapshot = auth_acquire(&hook->webhook->auth);
    hook->auth = NULL;
    hook->why.text[0] = '\0';
    return true;
}

/* All checks before the event is stored. */
static enum refusal admit_request(struct webhook_request *hook)
{
    static enum refusal (*const steps[])(struct webhook_request *) = {check_method, find_source, check_claim, read_body,
                                                                      check_signature};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        enum refusal refusal = steps[i](hook);
        if (refusal == REFUSAL_NONE)
            continue;
        return try_new_keys(hook, refusal) ? admit_request(hook) : refusal;
    }
    return REFUSAL_NONE;
}

bool webhook_wants_body(struct webhook *webhook, struct request *request)
{
    static enum refusal (*const steps[])(struct webhook_request *) = {check_method, find_source, check_claim};
    struct webhook_request hook = {.webhook = webhook, .request = request, .snapshot = auth_acquire(&webhook->auth)};
    enum refusal refusal = REFUSAL_NONE;
    for (size_t i = 0; i < sizeof steps / sizeof *steps && refusal == REFUSAL_NONE; i++)
        refusal = steps[i](&hook);
    bool wanted = refusal == REFUSAL_NONE || may_new_keys_help(&hook, refusal);
    auth_release(&webhook->auth, hook.snapshot);
    return wanted;
}

/* ---- storing and answering ---- */

static moment deadline_of(const struct request *request)
{
    return request_started(request) + ANSWER_WITHIN_MS;
}

static enum queue_result append_to_queue(void *queue, const char *source, const char *body, size_t length,
                                         moment deadline, struct error *why)
{
    return queue_append(queue, source, body, length, deadline, why);
}

/* What remains of a request whose event is being stored. */
struct storing {
    struct webhook *webhook;
    struct request *request;
    struct auth_snapshot *snapshot;
    const char *source; /* of the configuration */
    size_t length;
    struct waiting_append *append;
    enum queue_result result;
    struct error why;
};

/* Counts and answers what became of an event. */
static void answer_stored(const struct storing *storing)
{
    static const enum refusal refusals[] = {
        [QUEUE_STORED] = REFUSAL_NONE,        [QUEUE_UNUSABLE] = REFUSED_UNUSABLE,   [QUEUE_FULL] = REFUSED_QUEUE_FULL,
        [QUEUE_UNKNOWN] = REFUSED_QUEUE_SLOW, [QUEUE_BROKEN] = REFUSED_QUEUE_BROKEN,
    };
    struct webhook *webhook = storing->webhook;
    request_free_body(storing->request);
    if (storing->result == QUEUE_STORED) {
        counters_accepted(counters_of(webhook->log.counters, storing->source), storing->length, clock_unix_ms());
        request_answer(storing->request, 200, NULL, "ok");
    } else {
        refuse(&webhook->log, storing->request, refusals[storing->result], storing->source, &storing->why);
    }
    auth_release(&webhook->auth, storing->snapshot);
}

/* Called by the thread that writes. */
static void note_stored(void *context, enum queue_result result, const struct error *why)
{
    struct storing *storing = context;
    storing->result = result;
    if (result != QUEUE_STORED)
        storing->why = *why;
    request_wake(storing->request);
}

static void resume_stored(void *context, struct request *request)
{
    struct storing *storing = context;
    (void)request;
    queue_append_end(storing->webhook->queue, storing->append);
    answer_stored(storing);
    free(storing);
}

static bool give_up_storing(void *context, struct request *request)
{
    struct storing *storing = context;
    (void)request;
    if (!queue_append_give_up(storing->webhook->queue, storing->append, &storing->why))
        return false;
    storing->result = QUEUE_UNKNOWN;
    answer_stored(storing);
    free(storing);
    return true;
}

/* Leaves the event with the thread that writes; the request is answered when it is stored. Returns false where its
 * thread has to wait for that itself. */
static bool leave_to_writer(const struct webhook_request *hook, const struct storing *of)
{
    struct storing *storing = NULL;
    if (hook->webhook->append != append_to_queue || !request_may_wait(hook->request) ||
        (storing = malloc(sizeof *storing)) == NULL)
        return false;
    *storing = *of;
    storing->append =
        queue_append_start(storing->webhook->queue, storing->source, hook->body, hook->length, note_stored, storing);
    if (storing->append == NULL) {
        free(storing);
        return false;
    }
    request_leave_body(hook->request);
    request_wait(hook->request, deadline_of(hook->request), resume_stored, give_up_storing, storing);
    return true;
}

/* Stores the event and answers, now or later. */
static void store_event(const struct webhook_request *hook)
{
    struct webhook *webhook = hook->webhook;
    struct storing storing = {.webhook = webhook,
                              .request = hook->request,
                              .snapshot = hook->snapshot,
                              .source = hook->auth->source->name,
                              .length = hook->length};
    if (leave_to_writer(hook, &storing))
        return;
    request_blocks(hook->request);
    storing.result = webhook->append(webhook->queue, storing.source, hook->body, hook->length,
                                     deadline_of(hook->request), &storing.why);
    answer_stored(&storing);
}

void webhook_handle(struct webhook *webhook, struct request *request)
{
    struct webhook_request hook = {.webhook = webhook, .request = request, .snapshot = auth_acquire(&webhook->auth)};
    enum refusal refusal = admit_request(&hook);
    if (refusal == REFUSAL_NONE && !is_probe(&hook)) {
        note_use(&hook);
        store_event(&hook);
        return;
    }
    request_free_body(request);
    if (refusal == REFUSAL_NONE)
        request_answer(request, 200, NULL, WEBHOOK_PROBE_ANSWER);
    else
        refuse(&webhook->log, request, refusal, hook.auth == NULL ? NULL : hook.auth->source->name, &hook.why);
    auth_release(&webhook->auth, hook.snapshot);
}

struct webhook *webhook_new(const struct config *config, struct queue *queue, struct error *why)
{
    return webhook_new_with(config, append_to_queue, queue, why);
}

struct webhook *webhook_new_with(const struct config *config, append_function *store, void *queue, struct error *why)
{
    struct webhook *webhook = calloc(1, sizeof *webhook);
    if (webhook == NULL)
        error_set(why, "out of memory");
    if (webhook == NULL || !auth_init(&webhook->auth, config, why)) {
        free(webhook);
        return NULL;
    }
    webhook->append = store;
    webhook->queue = queue;
    refusal_log_init(&webhook->log);
    return webhook;
}

void webhook_catches_up(struct webhook *webhook)
{
    webhook->catches_up = true;
}

void webhook_count(struct webhook *webhook, struct counters *counters)
{
    webhook->log.counters = counters;
}

void webhook_free(struct webhook *webhook)
{
    if (webhook == NULL)
        return;
    refusal_log_free(&webhook->log);
    auth_free(&webhook->auth);
    free(webhook);
}
