/* The webhook endpoint: authenticate a request, append its body to the queue, answer. */
#ifndef WEBHOOK_WEBHOOK_H
#define WEBHOOK_WEBHOOK_H

#include "base/error.h"
#include "config/config.h"
#include "http/request.h"
#include "queue/queue.h"
#include "telemetry/telemetry.h"

struct webhook;

/* The start of the body that `subscribe --probe` sends: signed like any webhook, answered, and discarded. */
#define WEBHOOK_PROBE "{\"closecrm_probe\":"
#define WEBHOOK_PROBE_ANSWER "ok: a probe, not kept"

/* The start of the sentence that a GET of an address for webhooks is answered, by which `subscribe` knows it. */
#define WEBHOOK_GREETING "this is the address that Close posts its webhooks to, and it works"
/* What `send-test --no-forward` and the page's `Send test` send, the whole body: a probe also for a source without a
 * signature key, whose write key anybody may have. Close's events begin with another member, so none is taken for it.
 */
#define WEBHOOK_TEST WEBHOOK_PROBE " \"send-test --no-forward\"}"

/* config and queue are borrowed and must outlive the webhook. Returns NULL with the reason. */
struct webhook *webhook_new(const struct config *config, struct queue *queue, struct error *why);

/* Sets the counters of accepted and refused requests. Borrowed until webhook_free. Call before requests are handled. */
void webhook_count(struct webhook *webhook, struct counters *counters);

/* Handles one request: authenticates, appends, answers. Any thread. */
void webhook_handle(struct webhook *webhook, struct request *request);

void webhook_free(struct webhook *webhook);

#endif
