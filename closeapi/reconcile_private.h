/* What the files of reconciling share. */
#ifndef CLOSEAPI_RECONCILE_PRIVATE_H
#define CLOSEAPI_RECONCILE_PRIVATE_H

#include "closeapi/closeapi.h"
#include "closeapi/state.h"
#include "closeapi/subscribe.h"
#include "queue/loss.h"

#define RECONCILE_OVERLAP_US (INT64_C(600) * 1000000) /* read again each time */

/* One run. */
struct run {
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
    struct reconcile_state state;
    int64_t now_us;              /* Close's clock */
    bool was_paused;             /* a subscription was, since the last run */
    struct import_counts before; /* of the last window */
    bool second;                 /* this is the second reading */
    struct loss loss;            /* of events, that is noted and not over */
    bool any_loss;
    bool on_hold; /* it waits for the operator: the claim stays where it is */
    struct error *why;
};

/* reconcile_watch.c: lists the subscriptions, ends what a subscribe was killed in, takes Close's clock. */
enum close_result run_list_subscriptions(struct run *run);

/* Looks whether they are as they should be, and activates again what is paused where that is wanted. */
void run_watch_subscriptions(struct run *run);

/* reconcile_loss.c: takes a loss of events into account, and the operator's --from: before the log is read. Returns
 * false with the reason. */
bool run_take_loss(struct run *run);

/* After the log was read to its end: what was gone is fetched, unless it waits for the operator. Notes trouble then.
 * Returns false with the reason. */
bool run_end_loss(struct run *run);

/* reconcile_log.c: reads the log from the last verified moment, and a day-old part a second time. */
enum import_result run_read_log(struct run *run);

#endif
