/* Close's Event Log, read page by page: newest first, 50 at most a page, 30 days back. */
#ifndef CLOSEAPI_EVENT_LOG_H
#define CLOSEAPI_EVENT_LOG_H

#include "base/json_walk.h"
#include "closeapi/client.h"

#define LOG_DAYS 30
#define LOG_PAGE 50

/* Which events; NULL: any. Borrowed. */
struct log_filter {
    const char *object_type;
    const char *action;
    const char *lead_id;
};

/* An event as it stands in the answer; borrowed from it. */
struct log_event {
    struct json_slice bytes;
    int64_t updated_us; /* DATE_UNREADABLE: it has none */
    bool hidden;        /* it has neither data nor previous_data */
};

/* Called for each event of a page, newest first. Returns false with the reason to end the reading. */
typedef bool log_take(void *context, const struct log_event *event, struct error *why);

/* Called when a page was taken, with Close's clock (0: unknown). Likewise. */
typedef bool log_page(void *context, int64_t date_ms, struct error *why);

struct log_reader {
    struct close_client *client;
    struct log_filter filter;
    log_take *take;
    log_page *page; /* NULL: nobody wants to know */
    void *context;
};

enum log_result {
    LOG_DONE,    /* every page was read */
    LOG_EXPIRED, /* the cursor was refused: begin the window anew */
    LOG_FAILED,
    LOG_STOPPED,
};

/* Reads all events with from_us <= date_updated < to_us. A page that could not be read or understood is LOG_FAILED,
 * never an end. */
enum log_result log_read(const struct log_reader *reader, int64_t from_us, int64_t to_us, struct error *why);

/* Asks for the newest event, only for Close's clock. 0 with the reason. */
int64_t log_clock(struct close_client *client, struct error *why);

#endif
