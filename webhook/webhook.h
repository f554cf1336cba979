/* A webhook from Close: authenticate it, put its body in the queue, answer. */
#ifndef WEBHOOK_WEBHOOK_H
#define WEBHOOK_WEBHOOK_H

#include "base/error.h"
#include "config/config.h"
#include "http/request.h"
#include "queue/queue.h"
#include "telemetry/counters.h"

struct webhook;

/* How the body begins that `subscribe --probe` sends: signed like any, it is answered and goes nowhere. */
#define WEBHOOK_PROBE "{\"closecrm_probe\":"
#define WEBHOOK_PROBE_ANSWER "ok: a probe, not kept"

/* config and queue are borrowed and must outlive it. Returns NULL with the reason. */
struct webhook *webhook_new(const struct config *config, struct queue *queue, struct error *why);

/* Counts what is accepted and refused from now on. Borrowed until webhook_free. Call before requests come. */
void webhook_count(struct webhook *webhook, struct counters *counters);

/* Handles one request: nothing else but authenticate, append, answer. Any thread. */
void webhook_handle(struct webhook *webhook, struct request *request);

void webhook_free(struct webhook *webhook);

#endif
