/* Close's Event Log, read page by page: newest first, 50 at most a page, 30 days back. Each event is parsed once, and
 * what is needed of it noted. */
#ifndef CLOSEAPI_EVENT_LOG_H
#define CLOSEAPI_EVENT_LOG_H

#include "closeapi/coverage.h"
#include "transform/transform.h"

#define EVENT_LOG_DAYS 30

/* Which events; NULL: any. Borrowed. */
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
    const struct subscription *subscription; /* that covers it; NULL: none */
    bool usable;                             /* else it is no event of Close's, which was logged */
    bool empty;                              /* it has neither data nor previous_data */
};

enum log_result {
    LOG_PAGE,    /* a page was read; there may be no event in it */
    LOG_END,     /* every page was read */
    LOG_EXPIRED, /* the cursor was refused: begin anew */
    LOG_FAILED,
    LOG_STOPPED,
};

/* A reading of the log. All zero is none. */
struct event_log {
    struct close_client *client;
    const struct source *source;
    const struct coverage *coverage; /* the source's subscriptions */
    struct log_filter filter;
    int64_t from_us, to_us; /* from_us <= date_updated < to_us; Unix time in microseconds */

    /* The page that was read last, newest event first; until the next one. */
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

/* Begins, or begins anew. client, source and coverage must be set, and outlive it, as what the filter borrows. */
void event_log_begin(struct event_log *log, const struct log_filter *filter, int64_t from_us, int64_t to_us);

/* Reads the next page. One that could not be read or understood is LOG_FAILED, never an end; the reason is of the kind
 * ERROR_REJECTED when Close refused the request as such. */
enum log_result event_log_next(struct event_log *log, struct error *why);

void event_log_free(struct event_log *log);

/* Whether Close takes any of the filter: a type or an action alone it does not. Those that it does not take hold all
 * the same. */
bool event_log_has_filter(const struct log_filter *filter);

/* Writes the body with which the webhook would have brought the event. Returns false when memory is out. */
bool event_log_write_body(struct buffer *body, const struct log_event *event);

/* Asks for something small, only for Close's clock. 0 with the reason. */
int64_t event_log_clock(struct close_client *client, struct error *why);

#endif
