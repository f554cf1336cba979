/* The gate before the webhook: see gate.h. */
#include "process/gate.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

#define PATIENCE_MS 5000 /* a request waits so long for a decision; the rest of its 12 s is the webhook's */

void gate_init(struct gate *gate, const struct config *config)
{
    gate->config = config;
    gate->status = status_new(config);
    gate->decided = false;
    atomic_init(&gate->webhook, NULL);
    roots_init(&gate->roots, config);
    pthread_mutex_init(&gate->lock, NULL);
    clock_condition_init(&gate->changed);
}

static void decide(struct gate *gate, struct webhook *webhook)
{
    pthread_mutex_lock(&gate->lock);
    atomic_store(&gate->webhook, webhook);
    gate->decided = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

void gate_open(struct gate *gate, struct webhook *webhook)
{
    decide(gate, webhook);
}

void gate_close(struct gate *gate)
{
    decide(gate, NULL);
}

void gate_free(struct gate *gate)
{
    status_free(gate->status);
    roots_free(&gate->roots);
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->lock);
}

/* The webhook, NULL while the gate is closed. While it is neither open nor closed, as after a start, it is waited for:
 * a reload must fail no request. */
static struct webhook *wait_for_webhook(struct gate *gate, moment deadline)
{
    struct webhook *webhook = atomic_load(&gate->webhook);
    if (webhook != NULL)
        return webhook;
    pthread_mutex_lock(&gate->lock);
    while (!gate->decided && clock_now() < deadline)
        clock_condition_wait(&gate->changed, &gate->lock, deadline);
    webhook = atomic_load(&gate->webhook);
    pthread_mutex_unlock(&gate->lock);
    return webhook;
}

/* Refuses everything where the web server would show our files. Returns whether it did. */
static bool refuse_inside(struct gate *gate, struct request *request)
{
    if (roots_are_good(&gate->roots, request_variable(request, "DOCUMENT_ROOT")))
        return false;
    request_refuse(request, 503, "Retry-After: 300\r\n",
                   "the configuration is faulty: the web server's error log says where and how to mend it");
    return true;
}

static void handle_status(void *context, struct request *request)
{
    struct gate *gate = context;
    if (!refuse_inside(gate, request))
        status_handle(gate->status, request);
}

/* Waits, as webhooks do, for what a start decides: a reload must not look like a failure. */
static void handle_health(void *context, struct request *request)
{
    struct gate *gate = context;
    if (refuse_inside(gate, request))
        return;
    wait_for_webhook(gate, request_started(request) + PATIENCE_MS);
    status_handle(gate->status, request);
}

static void handle(void *context, struct request *request)
{
    struct gate *gate = context;
    if (refuse_inside(gate, request))
        return;
    struct webhook *webhook = wait_for_webhook(gate, request_started(request) + PATIENCE_MS);
    if (webhook != NULL)
        webhook_handle(webhook, request);
    else
        request_refuse(request, 503, "Retry-After: 30\r\n",
                       "the queue cannot be opened: the web server's error log says why and what to do. Send it again "
                       "later");
}

void gate_routes(struct gate *gate, struct route routes[static GATE_ROUTES])
{
    const struct route all[GATE_ROUTES] = {
        {"", handle, gate, false},
        {"/v1/webhook", handle, gate, false},
        {"/status", handle_status, gate, true},
        {"/metrics", handle_status, gate, true},
        {"/healthz", handle_health, gate, true},
        {"/*", handle, gate, false},
    };
    memcpy(routes, all, sizeof all);
}
