/* What reconcile.c and reconcile_log.c share. */
#ifndef CLOSEAPI_RECONCILE_PRIVATE_H
#define CLOSEAPI_RECONCILE_PRIVATE_H

#include "closeapi/closeapi.h"
#include "queue/inspect.h"

/* A run. */
struct reconcile_run {
    const struct config *config;
    const struct source *source;
    struct queue *queue;
    const struct reconcile_options *options;
    struct reconcile_report *report;
    char directory[4096];
    struct kept *lock; /* reconcile.lock */
    struct close_client *client;
    struct subscriptions list;
    struct keyring held;
    struct coverage coverage;
    struct completeness state;
    int64_t now_ms;              /* Close's clock */
    bool is_subscribed_now;      /* a command is making a subscription, whose key it has not stored yet */
    bool was_paused;             /* a subscription was paused at some time since the last run */
    struct import_counts before; /* at the end of the last window */
    bool second;                 /* the log is being read a second time */
    struct loss loss;            /* the loss of events that is noted, if any_loss */
    bool any_loss;
    bool on_hold; /* the loss waits for the operator: the claim stays as it is */
    struct error *why;
};

/* Before the log is read: applies a loss of events to the claim, and the operator's --from. Returns false with the
 * reason. */
bool reconcile_take_loss(struct reconcile_run *run);

/* After the log was read to its end: forgets the loss, whose events are imported again now. One that waits for the
 * operator stays, and is noted as trouble. Returns false with the reason. */
bool reconcile_end_loss(struct reconcile_run *run);

/* Imports from where the last run ended, and what is a day old a second time. */
enum import_result reconcile_read_log(struct reconcile_run *run);

/* Notes which event types are covered now. Returns false when memory is out. */
bool reconcile_set_types(struct reconcile_run *run);

#endif
