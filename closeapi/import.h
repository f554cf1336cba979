/* Import: a time range of the Event Log is read, window by window, and events that are neither delivered nor waiting
 * are appended to the queue, oldest first, with the body that the webhook would have had. */
#ifndef CLOSEAPI_IMPORT_H
#define CLOSEAPI_IMPORT_H

#include "closeapi/subscriptions.h"
#include "queue/queue.h"
#include "transform/transform.h"

/* ---- event_log.c: Reader of Close's Event Log: newest event first, pages of 50 events, 30 days back. Each event is
 * parsed once; a struct log_event holds what is needed of it. ---- */

#define EVENT_LOG_DAYS 30

/* Which events are read; NULL: any. Borrowed. */
struct log_filter {
    const char *object_type;
    const char *action;
    const char *lead_id;
};

/* An event of a page. */
struct log_event {
    const char *bytes; /* as they stand in Close's answer */
    size_t length;
    struct identity identity;
    const struct subscription *subscription; /* which covers it; NULL: none */
    char type[160];                          /* "lead.updated" */
    bool usable;     /* false: it is no event of Close's (that was logged), and the rest is not set */
    bool identified; /* it has an id; else its identity is a hash of its body */
    bool empty;      /* it has neither data nor previous_data */
};

enum log_result {
    LOG_PAGE,    /* a page was read; there may be no event in it */
    LOG_END,     /* every page was read */
    LOG_EXPIRED, /* the cursor was refused: begin anew */
    LOG_FAILED,
    LOG_STOPPED,
};

/* A reader. All zero, but for the first three members, before event_log_begin. */
struct event_log {
    struct close_client *client;
    const struct source *source;
    const struct coverage *coverage; /* the source's subscriptions */
    struct log_filter filter;
    int64_t from_us, to_us; /* from_us <= date_updated < to_us; Unix time in microseconds */

    /* The page that was read last, newest event first; valid until the next call. */
    struct log_event *events;
    size_t count;
    int64_t date_ms; /* Close's clock; 0: unknown */

    /* inside */
    size_t capacity;
    bool ended;
    char *cursor; /* leads to the next page; NULL: the first */
    struct close_answer answer;
    struct buffer body;
};

/* Begins to read a time range, also anew. client, source and coverage must be set; they and what the filter borrows
 * must outlive the reader. */
void event_log_begin(struct event_log *log, const struct log_filter *filter, int64_t from_us, int64_t to_us);

/* Reads the next page. A page that cannot be read or understood is LOG_FAILED, never an end; the reason has the kind
 * ERROR_REJECTED when Close answered 400. */
enum log_result event_log_next(struct event_log *log, struct error *why);

void event_log_free(struct event_log *log);

/* Whether there is a filter that Close applies: it refuses an object type or an action alone. That part is applied
 * here. */
bool event_log_has_filter(const struct log_filter *filter);

/* Writes the body that the webhook would have had for the event; past: with the mark of where it comes from. Returns
 * false when memory is out. */
bool event_log_write_body(struct buffer *body, const struct log_event *event, bool past);

/* Asks Close for the time: Unix time in milliseconds; 0 with the reason. */
int64_t event_log_clock(struct close_client *client, struct error *why);

/* ---- Spool: turns the order of events round, on disk, since the Event Log is read newest first and is imported oldest
 * first. Several runs, each put in newest first, are merged: they come out as one, oldest first. ---- */

/* Follows each event in the file. */
struct spool_trailer {
    uint64_t length;
    int64_t order; /* the smallest comes out first */
};

/* A run: what is left of it lies between begin and end in the file; top is its last trailer. */
struct spool_run {
    uint64_t begin, end;
    struct spool_trailer top;
};

struct spool {
    int fd; /* of an unlinked file; -1: none */
    struct spool_run *runs;
    size_t run_count;
};

/* Makes an empty spool, with a first run, in a directory. Returns false with the reason. */
bool spool_open(struct spool *spool, const char *directory, struct error *why);

/* Begins another run. Returns false when memory is out. */
bool spool_begin_run(struct spool *spool);

/* Adds an event to the run that was begun last. Its order must not be larger than that of the one before. Returns false
 * with the reason. */
bool spool_put(struct spool *spool, const char *bytes, size_t length, int64_t order, struct error *why);

/* Takes the event with the smallest order into out. Returns false when there is none, with the reason "", or on
 * failure. */
bool spool_take(struct spool *spool, struct buffer *out, int64_t *order, struct error *why);

/* Drops all events; one empty run is left. */
void spool_clear(struct spool *spool);

void spool_close(struct spool *spool);

/* ---- import.c: importing ---- */

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
