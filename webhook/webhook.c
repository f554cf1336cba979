/* A webhook's way in: method, source, what can be refused without its body, the body, the signature, the queue. */
#include "webhook/webhook.h"

#include "config/keyring.h"
#include "webhook/admission.h"
#include "webhook/auth.h"
#include "webhook/internal.h"
#include "webhook/refusals.h"
#include "webhook/signature.h"

#include <stdlib.h>
#include <string.h>

/* Close gives an answer 15 s; this leaves some for the way back. */
#define ANSWER_WITHIN_MS 12000

struct webhook {
    struct admission admission;
    append_function *append;
    void *queue; /* borrowed */
    struct refusal_log log;
};

/* One request on its way. */
struct visit {
    struct webhook *webhook;
    struct request *request;
    struct admitted *admitted; /* what was accepted when it came */
    bool renewed;              /* new keys were looked for already */
    enum choice choice;
    const struct entrance *entrance; /* NULL: not known, or not yet */
    struct presented presented;
    struct signature signature;
    bool by_write_key; /* its source takes that alone, whatever keys there are */
    size_t signer;     /* which of the entrance's keys signed it */
    const char *body;  /* NULL: not read yet */
    size_t length;
    struct error why; /* of the refusal; "": its standing words */
};

static bool is_method(const struct visit *visit, const char *name)
{
    const char *method = request_variable(visit->request, "REQUEST_METHOD");
    return method != NULL && strcmp(method, name) == 0;
}

static bool is_signed(const struct visit *visit)
{
    return request_header(visit->request, "CLOSE_SIG_HASH") != NULL;
}

static void collect_write_keys(struct visit *visit)
{
    char key[256];
    if (request_query(visit->request, "writeKey", key, sizeof key))
        presented_add(&visit->presented, key);
    if (request_basic_user(visit->request, key, sizeof key))
        presented_add(&visit->presented, key);
}

static enum refusal find_source(struct visit *visit)
{
    visit->presented.count = 0;
    collect_write_keys(visit);
    visit->choice = choose_source(&visit->admitted->entrances, request_path(visit->request), &visit->presented,
                                  is_signed(visit), &visit->entrance);
    if (visit->choice == CHOSEN_UNKNOWN)
        return REFUSED_UNKNOWN_SOURCE;
    if (visit->choice == CHOSEN_NONE && visit->admitted->entrances.any_incomplete && is_signed(visit))
        return REFUSED_NO_KEY;
    if (visit->choice == CHOSEN_NONE)
        return visit->presented.count > 0 ? REFUSED_WRITE_KEY : REFUSED_UNCLEAR_SOURCE;
    return REFUSED_NOT;
}

/* A person who opens the address in a browser shall learn that it is right, unless it is wrong. */
static enum refusal check_method(struct visit *visit)
{
    if (is_method(visit, "POST"))
        return REFUSED_NOT;
    const struct config *config = visit->webhook->admission.config;
    bool has_page = config->admin == ADMIN_SERVER || config->admin_password != NULL;
    bool person = is_method(visit, "GET") || is_method(visit, "HEAD");
    if (person && find_source(visit) == REFUSED_UNKNOWN_SOURCE)
        return REFUSED_UNKNOWN_SOURCE;
    if (person)
        error_set(
            &visit->why,
            "this is the address that Close posts its webhooks to, and it works; other requests are not taken. To "
            "see how it does, %srun `closecrm.fcgi check` on the server",
            has_page ? "look at .../status, or " : "");
    return REFUSED_METHOD;
}

/* How far a source lets a timestamp be off; with the source not yet known, as far as any does. */
static int64_t tolerance_of(const struct visit *visit)
{
    if (visit->entrance != NULL)
        return visit->entrance->source->signature_tolerance_ms;
    int64_t most = 0;
    const struct entrances *entrances = &visit->admitted->entrances;
    for (size_t i = 0; i < entrances->count; i++) {
        if (entrances->at[i].source->signature_tolerance_ms > most)
            most = entrances->at[i].source->signature_tolerance_ms;
    }
    return most;
}

static enum refusal check_time(struct visit *visit)
{
    int64_t now = clock_unix_ms();
    int64_t tolerance = tolerance_of(visit);
    if (signature_is_current(&visit->signature, now, tolerance))
        return REFUSED_NOT;
    long long seconds = (long long)(signature_age_ms(&visit->signature, now) / 1000);
    error_set(&visit->why,
              "close-sig-timestamp is %lld seconds %s this machine's time, and signature_tolerance allows %lld: is the "
              "clock of this machine right?",
              seconds < 0 ? -seconds : seconds, seconds < 0 ? "ahead of" : "behind", (long long)(tolerance / 1000));
    return REFUSED_SIGNATURE_TIME;
}

static enum refusal read_signature(struct visit *visit)
{
    const char *hash = request_header(visit->request, "CLOSE_SIG_HASH");
    const char *timestamp = request_header(visit->request, "CLOSE_SIG_TIMESTAMP");
    if (hash == NULL || timestamp == NULL)
        return REFUSED_NO_SIGNATURE;
    if (!signature_read_hash(&visit->signature, hash) || !signature_read_timestamp(&visit->signature, timestamp))
        return REFUSED_SIGNATURE_FORM;
    return check_time(visit);
}

/* All that can be refused before the body is read. */
static enum refusal check_claim(struct visit *visit)
{
    visit->by_write_key = false;
    if (visit->entrance != NULL && visit->entrance->locked) {
        visit->why = visit->entrance->reason;
        return REFUSED_NO_KEY;
    }
    if (visit->entrance != NULL && visit->entrance->source->signature_none &&
        entrance_takes(visit->entrance, &visit->presented)) {
        visit->by_write_key = true;
        return REFUSED_NOT;
    }
    if (visit->entrance == NULL || visit->entrance->signers.count > 0)
        return read_signature(visit);
    if (entrance_takes(visit->entrance, &visit->presented))
        return REFUSED_NOT;
    return visit->presented.count > 0 ? REFUSED_WRITE_KEY : REFUSED_NO_WRITE_KEY;
}

static enum refusal read_body(struct visit *visit)
{
    if (visit->body != NULL)
        return REFUSED_NOT;
    static const enum refusal refusals[] = {
        [BODY_OK] = REFUSED_NOT,
        [BODY_EMPTY] = REFUSED_EMPTY_BODY,
        [BODY_SHORT] = REFUSED_SHORT_BODY,
        [BODY_TOO_LARGE] = REFUSED_LARGE_BODY,
        [BODY_NO_ROOM] = REFUSED_NO_MEMORY,
    };
    return refusals[request_body(visit->request, &visit->body, &visit->length, &visit->why)];
}

static enum refusal check_signers(struct visit *visit, const struct signers *signers)
{
    static const enum refusal refusals[] = {
        [SIGNATURE_GOOD] = REFUSED_NOT,
        [SIGNATURE_WRONG] = REFUSED_SIGNATURE,
        [SIGNATURE_FAILED] = REFUSED_NO_MEMORY,
    };
    size_t which;
    enum signature_result result = signature_find(&visit->signature, signers, visit->body, visit->length, &which);
    if (result == SIGNATURE_GOOD)
        visit->signer = which;
    return refusals[result];
}

/* Finds the source by the key that signs. All keys of all sources are tried. */
static enum refusal find_signer(struct visit *visit)
{
    const struct entrances *entrances = &visit->admitted->entrances;
    bool failed = false;
    size_t found = 0;
    for (size_t i = 0; i < entrances->count; i++) {
        enum refusal refusal = check_signers(visit, &entrances->at[i].signers);
        if (refusal == REFUSED_NOT && visit->entrance == NULL) {
            visit->entrance = &entrances->at[i];
            found = visit->signer;
        }
        failed = failed || refusal == REFUSED_NO_MEMORY;
    }
    visit->signer = found;
    if (visit->entrance != NULL)
        return check_time(visit);
    if (failed)
        return REFUSED_NO_MEMORY;
    return entrances->any_incomplete ? REFUSED_NO_KEY : REFUSED_SIGNATURE;
}

static enum refusal check_signature(struct visit *visit)
{
    if (visit->entrance == NULL)
        return find_signer(visit);
    const struct entrance *entrance = visit->entrance;
    if (visit->by_write_key || entrance->signers.count == 0)
        return REFUSED_NOT;
    enum refusal refusal = check_signers(visit, &entrance->signers);
    if (refusal == REFUSED_SIGNATURE && entrance->incomplete)
        error_set(&visit->why, "the signature does not match any key that is held, and %s", entrance->reason.text);
    return refusal;
}

static enum refusal append(struct visit *visit)
{
    static const enum refusal refusals[] = {
        [QUEUE_STORED] = REFUSED_NOT,         [QUEUE_UNUSABLE] = REFUSED_UNUSABLE,   [QUEUE_FULL] = REFUSED_QUEUE_FULL,
        [QUEUE_UNKNOWN] = REFUSED_QUEUE_SLOW, [QUEUE_BROKEN] = REFUSED_QUEUE_BROKEN,
    };
    moment deadline = request_started(visit->request) + ANSWER_WITHIN_MS;
    const char *source = visit->entrance->source->name;
    enum queue_result result =
        visit->webhook->append(visit->webhook->queue, source, visit->body, visit->length, deadline, &visit->why);
    if (result == QUEUE_STORED)
        counters_accepted(counters_of(visit->webhook->log.counters, source), visit->length, clock_unix_ms());
    return refusals[result];
}

/* `rotate` wants to know that a new subscription delivers. */
static void note_use(const struct visit *visit)
{
    const struct entrance *entrance = visit->entrance;
    size_t configured = entrance->signers.count - entrance->held_count;
    if (entrance->held_count == 0 || visit->by_write_key || visit->signer < configured)
        return;
    size_t held = visit->signer - configured;
    if (entrance->held[held][0] != '\0' && !atomic_exchange(&entrance->used[held], true))
        keyring_mark_used(visit->webhook->admission.config->state_dir, entrance->held[held]);
}

/* What `subscribe --probe` sends is signed by us, and no event. */
static bool is_probe(const struct visit *visit)
{
    size_t length = sizeof WEBHOOK_PROBE - 1;
    return !visit->by_write_key && visit->entrance->signers.count > 0 && visit->length >= length &&
           memcmp(visit->body, WEBHOOK_PROBE, length) == 0;
}

/* Whether a key that was obtained just now could let this request in, so that it must be looked at again. */
static bool try_new_keys(struct visit *visit, enum refusal refusal)
{
    bool of_keys = refusal == REFUSED_SIGNATURE || refusal == REFUSED_NO_WRITE_KEY || refusal == REFUSED_WRITE_KEY ||
                   refusal == REFUSED_UNCLEAR_SOURCE || refusal == REFUSED_NO_KEY;
    if (!of_keys || visit->renewed || !is_signed(visit))
        return false;
    visit->renewed = true;
    if (!admission_renew(&visit->webhook->admission))
        return false;
    admission_leave(&visit->webhook->admission, visit->admitted);
    visit->admitted = admission_enter(&visit->webhook->admission);
    visit->entrance = NULL;
    visit->why.text[0] = '\0';
    return true;
}

/* All before the event is taken. */
static enum refusal admit(struct visit *visit)
{
    static enum refusal (*const steps[])(struct visit *) = {check_method, find_source, check_claim, read_body,
                                                            check_signature};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        enum refusal refusal = steps[i](visit);
        if (refusal == REFUSED_NOT)
            continue;
        return try_new_keys(visit, refusal) ? admit(visit) : refusal;
    }
    return REFUSED_NOT;
}

void webhook_handle(struct webhook *webhook, struct request *request)
{
    struct visit visit = {.webhook = webhook, .request = request, .admitted = admission_enter(&webhook->admission)};
    enum refusal refusal = admit(&visit);
    bool probe = refusal == REFUSED_NOT && is_probe(&visit);
    if (refusal == REFUSED_NOT && !probe) {
        note_use(&visit);
        refusal = append(&visit);
    }
    request_forget_body(request);
    if (refusal == REFUSED_NOT)
        request_answer(request, 200, NULL, probe ? WEBHOOK_PROBE_ANSWER : "ok");
    else
        refuse(&webhook->log, request, refusal, visit.entrance == NULL ? NULL : visit.entrance->source->name,
               &visit.why);
    admission_leave(&webhook->admission, visit.admitted);
}

static enum queue_result append_to_queue(void *queue, const char *source, const char *body, size_t length,
                                         moment deadline, struct error *why)
{
    return queue_append(queue, source, body, length, deadline, why);
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
    if (webhook == NULL || !admission_init(&webhook->admission, config, why)) {
        free(webhook);
        return NULL;
    }
    webhook->append = store;
    webhook->queue = queue;
    refusal_log_init(&webhook->log);
    return webhook;
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
    admission_free(&webhook->admission);
    free(webhook);
}
