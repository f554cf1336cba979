/* Import: a time range of the Event Log is read, window by window, and events that are neither delivered nor waiting
 * are appended to the queue, oldest first, with the body that the webhook would have had. */
#ifndef CLOSEAPI_IMPORT_H
#define CLOSEAPI_IMPORT_H

#include "closeapi/event_log.h"
#include "queue/queue.h"

/* Numbers of events, but for pages and windows. */
struct import_counts {
    uint64_t windows, pages;
    uint64_t events;    /* in the log, as far as the filter lets them pass */
    uint64_t known;     /* of these: delivered, waiting, or dead letters; not appended */
    uint64_t fresh;     /* of these: not known; appended, unless it is a dry run or they are hidden */
    uint64_t uncovered; /* of these: no subscription of the source covers them; not appended */
    uint64_t hidden;    /* of the fresh: Close does not show their data to this API key; not appended */
    uint64_t unusable;  /* of these: they are no events of Close's; not appended */
    uint64_t large;     /* of the fresh: larger than 100 KiB, and than any that is known */
};

struct import;

/* What is to be imported. Borrowed: it must outlive the import. */
struct import_order {
    const struct config *config;
    const struct source *source;
    struct close_client *client;
    struct queue *queue;             /* of this thread alone; NULL: events are only counted, as fresh */
    const struct coverage *coverage; /* the source's subscriptions */
    bool all_events;                 /* also those that none of them covers */
    struct log_filter filter;
    bool notes_lacks; /* collects what import_lacks returns */
    bool dry_run;
    bool identify;          /* as events of the webhook, which may send an identify */
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

/* Does the next step. DONE, FAILED and STOPPED are the end, the last two with the reason. */
enum import_result import_next(struct import *import, struct error *why);

const struct import_counts *import_counted(const struct import *import);

/* With notes_lacks: the event types that were seen and that no subscription has, a blank between: the first 512 bytes
 * of them. */
const char *import_lacks(const struct import *import);

/* Until this time the import is complete: all appends are durable. Unix time in microseconds. */
int64_t import_reached(const struct import *import);

void import_free(struct import *import);

#endif
