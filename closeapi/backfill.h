/* A backfill: a stretch of the Event Log into the queue, going on where an earlier run of the same one stopped. */
#ifndef CLOSEAPI_BACKFILL_H
#define CLOSEAPI_BACKFILL_H

#include "closeapi/closeapi.h"

struct backfill_order {
    const char *since, *until; /* as typed: 2026-11-01, 2026-11-01T12:30, 7d, 12h (before now); until NULL: now */
    struct log_filter filter;
    bool all_events; /* whatever the subscriptions cover */
    bool again;      /* from the start, also where an earlier run has got further */
    bool dry_run;    /* only read and count */
    int stop_fd;     /* -1: none */
    int64_t patience_ms;
    void (*waits)(void *context, int64_t ms, const char *reason); /* as in close_options */
    void (*progress)(void *context, const struct fill_counts *counts, int64_t from_us, int64_t reached_us,
                     int64_t until_us);
    void *context;
};

struct backfill_report {
    int64_t since_us, until_us; /* what was asked for, as far as Close has it */
    int64_t from_us;            /* where this run began */
    bool beyond;                /* since is older than what Close keeps */
    bool went_on;               /* an earlier run had stopped */
    struct fill_counts counts;  /* of this run */
    uint64_t requests;
};

/* Reads a time as typed, relative to now; Unix time in microseconds. Returns false with the reason. */
bool backfill_read_time(const char *text, int64_t now_us, int64_t *us, struct error *why);

/* Does it. queue: of this thread alone, keeping events on disk; NULL for a dry run on a queue that cannot be looked
 * into. */
enum log_result backfill_run(const struct config *config, const struct source *source, struct queue *queue,
                             const struct backfill_order *order, struct backfill_report *report, struct error *why);

#endif
