/* Importing from the Event Log into the queue, a window of time after the other: what is not delivered yet is appended,
 * oldest first, as its webhook would have brought it. */
#ifndef CLOSEAPI_IMPORT_H
#define CLOSEAPI_IMPORT_H

#include "closeapi/event_log.h"
#include "queue/queue.h"

/* Events, but for pages and windows. */
struct import_counts {
    uint64_t windows, pages;
    uint64_t events;    /* in the log, of the kind that was asked for */
    uint64_t known;     /* delivered, waiting, or dead letters: nothing to do */
    uint64_t fresh;     /* not known: appended, unless it was a dry run or they are hidden */
    uint64_t uncovered; /* no subscription of the source covers them */
    uint64_t hidden;    /* Close does not show their data to this key: not appended */
    uint64_t unusable;  /* no event of Close's: not appended */
    uint64_t large;     /* of the fresh: larger than any that is known, and than 100 KiB */
};

struct import;

/* What to do. Borrowed, and must outlive the import. */
struct import_order {
    const struct config *config;
    const struct source *source;
    struct close_client *client;
    struct queue *queue;             /* of this thread alone; NULL: only count, nothing is known */
    const struct coverage *coverage; /* the source's subscriptions */
    bool all_events;                 /* also what none of them covers */
    struct log_filter filter;
    bool dry_run;
    int stop_fd;            /* -1: none */
    int64_t from_us, to_us; /* from_us <= date_updated < to_us; Unix time in microseconds */
};

enum import_result {
    IMPORT_STEP,   /* a page was read, or some events were appended */
    IMPORT_WINDOW, /* all pages of a window were read, and every append is durable */
    IMPORT_DONE,   /* of all windows */
    IMPORT_FAILED,
    IMPORT_STOPPED,
};

/* directory: for temporary files. Returns NULL with the reason. */
struct import *import_new(const struct import_order *order, const char *directory, struct error *why);

/* Does the next step. FAILED and STOPPED come with the reason, and end it, as DONE does. */
enum import_result import_next(struct import *import, struct error *why);

const struct import_counts *import_counted(const struct import *import);

/* All events before this time are durable; Unix time in microseconds. */
int64_t import_reached(const struct import *import);

void import_free(struct import *import);

/* ---- waiting.c: identities of what waits in the queue, as far as they can be held ---- */

struct waiting;
struct waiting *waiting_new(void);
/* Reads on to the queue's end. Returns false with the reason. */
bool waiting_read_on(struct waiting *waiting, struct queue *queue, const char *source, struct error *why);
bool waiting_has(const struct waiting *waiting, const struct identity *identity);
void waiting_free(struct waiting *waiting);

#endif
