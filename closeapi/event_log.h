/* Reader of Close's Event Log: newest event first, pages of 50 events, 30 days back. Each event is parsed once; a
 * struct log_event holds what is needed of it. */
#ifndef CLOSEAPI_EVENT_LOG_H
#define CLOSEAPI_EVENT_LOG_H

#include "closeapi/coverage.h"
#include "transform/transform.h"

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

#endif
