/* Filling the queue from the Event Log, a window of time after the other: what is not delivered yet goes into the
 * queue, oldest first, as its webhook would have brought it. */
#ifndef CLOSEAPI_IMPORT_H
#define CLOSEAPI_IMPORT_H

#include "closeapi/coverage.h"
#include "closeapi/event_log.h"
#include "closeapi/spool.h"
#include "queue/queue.h"

/* Events, but for pages and windows. */
struct fill_counts {
    uint64_t windows, pages;
    uint64_t events;    /* in the log, of the kind that was asked for */
    uint64_t known;     /* delivered, waiting, or dead letters: nothing to do */
    uint64_t fresh;     /* not known: appended, unless it was a dry run or they are hidden */
    uint64_t uncovered; /* no subscription of the source covers them */
    uint64_t hidden;    /* Close does not show their data to this key: not appended */
    uint64_t unusable;  /* no event of Close's: not appended */
    uint64_t large;     /* of the fresh: larger than any that is known, and than LARGE_BYTES */
};

#define FILL_LARGE_BYTES ((size_t)100 * 1024)

struct fill;

/* What to do. Borrowed, and must outlive the fill. */
struct fill_order {
    const struct config *config;
    const struct source *source;
    struct close_client *client;
    struct queue *queue;             /* of this thread alone; NULL: only count, nothing is known */
    const struct coverage *coverage; /* the source's subscriptions; NULL: not known */
    bool all_events;                 /* also what none of them covers */
    struct log_filter filter;
    bool dry_run;
    bool count_waiting; /* what waits in the queue is known, too */
    int stop_fd;        /* -1: none */

    /* Called after each page and every some appended events. reached_us: all before is durable. Returns false with the
     * reason to end. NULL: nobody wants to know. */
    bool (*progress)(void *context, const struct fill_counts *counts, int64_t reached_us, struct error *why);
    void *context;
};

/* Returns NULL with the reason. */
struct fill *fill_new(const struct fill_order *order, const char *directory, struct error *why);

/* Does one window: from_us <= date_updated < to_us, Unix time in microseconds. DONE: every page was read and every
 * append is durable. */
enum log_result fill_window(struct fill *fill, int64_t from_us, int64_t to_us, struct error *why);

/* Does a longer time in windows, the oldest first, whose length follows how much there is in the log; calls done after
 * each (NULL: nobody wants to know), which returns false with the reason to end. */
typedef bool fill_done(void *context, const struct fill_counts *counts, int64_t until_us, struct error *why);
enum log_result fill_range(struct fill *fill, int64_t from_us, int64_t to_us, fill_done *done, void *context,
                           struct error *why);

const struct fill_counts *fill_counted(const struct fill *fill);

void fill_free(struct fill *fill);

/* waiting.c: identities of what waits in the queue, as far as they can be held. */
struct waiting;
struct waiting *waiting_new(void);
/* Reads on to the queue's end. Returns false with the reason. */
bool waiting_read_on(struct waiting *waiting, struct queue *queue, const char *source, struct error *why);
bool waiting_has(const struct waiting *waiting, const struct identity *identity);
void waiting_free(struct waiting *waiting);

#endif
