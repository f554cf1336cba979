/* The gate before the webhook: see process_private.h. */
#include "process/process_private.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "process/process.h"

#define LOG_AGAIN_MS 60000
#define PATIENCE_MS                                                                                                    \
    5000 /* how long a request waits for gate_open or gate_close; the rest of its 12 s is for the webhook */

/* ---- document roots ---- */

struct root_verdict {
    bool good;
    char root[];
};

static void roots_init(struct roots *roots, const struct config *config)
{
    roots->config = config;
    roots->logged = INT64_MIN / 2;
    for (size_t i = 0; i < ROOTS_KEPT; i++)
        atomic_init(&roots->at[i], NULL);
    pthread_mutex_init(&roots->lock, NULL);
}

static const struct root_verdict *find_verdict(const struct roots *roots, const char *root)
{
    for (size_t i = 0; i < ROOTS_KEPT; i++) {
        const struct root_verdict *verdict = atomic_load_explicit(&roots->at[i], memory_order_acquire);
        if (verdict == NULL || strcmp(verdict->root, root) == 0)
            return verdict;
    }
    return NULL;
}

/* Under the lock. Returns false when there is no place or no memory. */
static bool keep_verdict(struct roots *roots, const char *root, bool good)
{
    size_t i = 0, size = strlen(root) + 1;
    while (i < ROOTS_KEPT && atomic_load_explicit(&roots->at[i], memory_order_relaxed) != NULL)
        i++;
    struct root_verdict *verdict = i == ROOTS_KEPT ? NULL : malloc(sizeof *verdict + size);
    if (verdict == NULL)
        return false;
    verdict->good = good;
    memcpy(verdict->root, root, size);
    atomic_store_explicit(&roots->at[i], verdict, memory_order_release);
    return true;
}

/* Under the lock, so that it is logged once. */
static bool judge_root(struct roots *roots, const char *root)
{
    struct error why = {0};
    moment now = clock_now();
    bool good = config_outside(roots->config, root, &why);
    bool kept = keep_verdict(roots, root, good);
    if (!good && (kept || now - roots->logged >= LOG_AGAIN_MS)) {
        errors_avoid(roots->config, root);
        log_write(LEVEL_ERROR, "msg=configuration_refused %s", why.text);
        roots->logged = now;
    }
    return good;
}

struct judging {
    struct roots *roots;
    const char *root;
    bool good;
};

/* Looks into folders that a confined thread may not open. */
static void judge_aside(void *argument)
{
    struct judging *judging = argument;
    judging->good = judge_root(judging->roots, judging->root);
}

/* Whether configuration, keys and events all lie outside this document root (NULL or "": none is named). What does not
 * is logged once, with how to mend it. */
static bool roots_are_good(struct roots *roots, struct confine *confine, struct request *request)
{
    const char *document_root = request_variable(request, "DOCUMENT_ROOT");
    struct judging judging = {.roots = roots, .root = document_root};
    if (document_root == NULL || document_root[0] == '\0')
        return true;
    const struct root_verdict *verdict = find_verdict(roots, document_root);
    if (verdict != NULL)
        return verdict->good;
    request_blocks(request); /* it looks into folders */
    pthread_mutex_lock(&roots->lock);
    verdict = find_verdict(roots, document_root); /* another thread may have been faster */
    if (verdict == NULL)
        confine_aside(confine, judge_aside, &judging);
    bool good = verdict != NULL ? verdict->good : judging.good;
    pthread_mutex_unlock(&roots->lock);
    return good;
}

static void roots_free(struct roots *roots)
{
    for (size_t i = 0; i < ROOTS_KEPT; i++)
        free(atomic_load(&roots->at[i]));
    pthread_mutex_destroy(&roots->lock);
}

/* ---- the gate ---- */

void gate_init(struct gate *gate, const struct config *config, struct confine *confine)
{
    gate->config = config;
    gate->confine = confine;
    gate->status = status_new(config);
    if (confine != NULL)
        status_answer_aside(gate->status, confine_aside, confine);
    gate->decided = false;
    atomic_init(&gate->webhook, NULL);
    roots_init(&gate->roots, config);
    pthread_mutex_init(&gate->lock, NULL);
    clock_condition_init(&gate->changed);
}

static void decide_gate(struct gate *gate, struct webhook *webhook)
{
    pthread_mutex_lock(&gate->lock);
    atomic_store(&gate->webhook, webhook);
    gate->decided = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

void gate_open(struct gate *gate, struct webhook *webhook)
{
    decide_gate(gate, webhook);
}

void gate_close(struct gate *gate)
{
    decide_gate(gate, NULL);
}

void gate_free(struct gate *gate)
{
    status_free(gate->status);
    roots_free(&gate->roots);
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->lock);
}

/* Returns the webhook; NULL while the gate is closed. While the gate is neither open nor closed, as after a start,
 * waits for it: a reload must fail no request. */
static struct webhook *wait_for_webhook(struct gate *gate, struct request *request)
{
    moment deadline = request_started(request) + PATIENCE_MS;
    struct webhook *webhook = atomic_load(&gate->webhook);
    if (webhook != NULL)
        return webhook;
    request_blocks(request);
    pthread_mutex_lock(&gate->lock);
    while (!gate->decided && clock_now() < deadline)
        clock_condition_wait(&gate->changed, &gate->lock, deadline);
    webhook = atomic_load(&gate->webhook);
    pthread_mutex_unlock(&gate->lock);
    if (gate->confine != NULL)
        confine_thread(gate->confine); /* the queue was opened meanwhile */
    return webhook;
}

/* Refuses everything where the web server would show our files. Returns whether it did. */
static bool refuse_inside(struct gate *gate, struct request *request)
{
    if (gate->confine != NULL)
        confine_thread(gate->confine); /* the queue may have been opened since it began */
    if (roots_are_good(&gate->roots, gate->confine, request))
        return false;
    struct error words;
    error_set(&words, "the configuration is faulty: %s says where and how to mend it", errors_where());
    request_refuse(request, 503, "Retry-After: 300\r\n", words.text);
    return true;
}

static void handle_status(void *context, struct request *request)
{
    struct gate *gate = context;
    request_blocks(request);
    if (!refuse_inside(gate, request))
        status_handle(gate->status, request);
}

/* Waits for the pipeline, as webhooks do: a reload must not look like a failure. */
static void handle_health(void *context, struct request *request)
{
    struct gate *gate = context;
    if (refuse_inside(gate, request))
        return;
    wait_for_webhook(gate, request);
    request_blocks(request);
    status_handle(gate->status, request);
}

static void handle_webhook(void *context, struct request *request)
{
    struct gate *gate = context;
    if (refuse_inside(gate, request))
        return;
    struct webhook *webhook = wait_for_webhook(gate, request);
    struct error words;
    if (webhook != NULL) {
        webhook_handle(webhook, request);
        return;
    }
    error_set(&words, "the queue is not open: if this stays so, %s says why and what to do. Send it again later",
              errors_where());
    request_refuse(request, 503, "Retry-After: 30\r\n", words.text);
}

bool gate_wants_body(void *of, struct request *request)
{
    struct gate *gate = of;
    struct webhook *webhook = atomic_load(&gate->webhook);
    return webhook == NULL || strcmp(request_path(request), "/status") == 0 || webhook_wants_body(webhook, request);
}

void gate_routes(struct gate *gate, struct route routes[static GATE_ROUTES])
{
    const struct route all[GATE_ROUTES] = {
        {"", handle_webhook, gate, false},       {"/v1/webhook", handle_webhook, gate, false},
        {"/status", handle_status, gate, true},  {"/metrics", handle_status, gate, true},
        {"/healthz", handle_health, gate, true}, {"/*", handle_webhook, gate, false},
    };
    memcpy(routes, all, sizeof all);
}
