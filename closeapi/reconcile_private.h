/* What the files of reconciling share. */
#ifndef CLOSEAPI_RECONCILE_PRIVATE_H
#define CLOSEAPI_RECONCILE_PRIVATE_H

#include "closeapi/closeapi.h"
#include "closeapi/state.h"
#include "closeapi/subscribe.h"
#include "queue/loss.h"

/* One run. */
struct reconcile_run {
    const struct config *config;
    const struct source *source;
    struct queue *queue;
    const struct reconcile_options *options;
    struct reconcile_report *report;
    char directory[4096];
    struct close_client *client;
    struct subscriptions list;
    struct keyring held;
    struct coverage coverage;
    struct completeness state;
    int64_t now_ms;              /* Close's clock */
    bool was_paused;             /* a subscription was, since the last run */
    struct import_counts before; /* of the last window */
    bool second;                 /* this is the second reading */
    struct loss loss;            /* of events, that is noted and not over */
    bool any_loss;
    bool on_hold; /* it waits for the operator: the claim stays where it is */
    struct error *why;
};

/* reconcile_log.c: takes a loss of events into account, and the operator's --from: before the log is read. Returns
 * false with the reason. */
bool reconcile_take_loss(struct reconcile_run *run);

/* After the log was read to its end: what was gone is fetched, unless it waits for the operator. Notes trouble then.
 * Returns false with the reason. */
bool reconcile_end_loss(struct reconcile_run *run);

/* Reads the log from the last verified moment, and a day-old part a second time. */
enum import_result reconcile_read_log(struct reconcile_run *run);

#endif
