/* A stand-in for Close, since the real one cannot be had here: its API as the reference has it, faults on demand, and
 * its deliveries, signed and tried again, with pausing and clearing. Its clock can be moved. */
#ifndef TESTS_SUPPORT_STANDIN_CLOSE_H
#define TESTS_SUPPORT_STANDIN_CLOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "tests/support/slice.h"

#define CLOSE_API_KEY "api_standin.4711"

struct standin_close;

struct standin_close_options {
    bool shows_keys;        /* list and get repeat the signature_key */
    bool wants_filter;      /* the log without a filter: 400 */
    bool not_admin;         /* data of events older than an hour are left out */
    unsigned limit_every;   /* every such request: 429; 0: none */
    const char *limit_for;  /* seconds that it says then: "0.05" */
    unsigned cut_per_mille; /* of answers: nothing or half of it comes */
    unsigned refuse_every;  /* every such request: a passing 401; 0: none */
    unsigned expire_every;  /* every such cursor is refused; 0: none */
    int64_t retry_ms;       /* of a failed delivery, doubling; 0: 100 */
    unsigned failures_most; /* deliveries that fail in a row until the subscription is paused; 0: any number */
    size_t backlog_most;    /* of events that wait to be delivered; 0: 100,000 */
    int64_t hold_ms;        /* an event waits so long for others of its object to be merged in */
};

/* What makes one event differ from another. */
struct close_event {
    const char *id;
    const char *lead;        /* NULL: null */
    const char *object_type; /* NULL: "activity.note" */
    const char *action;      /* NULL: "created" */
    const char *note;        /* text in data; NULL: "" */
    int64_t updated_us;      /* 0: now, by the stand-in's clock */
    size_t filler;           /* bytes of text in data */
    bool log_only;           /* no subscription delivers it: it was lost */
};

/* What goes wrong with requests whose "METHOD /path" holds the text. */
enum close_act {
    CLOSE_ANSWER,   /* answers so, and does nothing */
    CLOSE_CUT,      /* closes the connection, and does nothing */
    CLOSE_DONE_CUT, /* does it, and closes the connection */
    CLOSE_HOLD,     /* does it, and answers only after standin_close_heal */
};

struct close_fault {
    const char *match;
    enum close_act act;
    unsigned times;
    int status;
    const char *body;
};

struct standin_close *standin_close_start(const struct standin_close_options *options);
void standin_close_stop(struct standin_close *close);

/* "http://127.0.0.1:PORT/api/v1" */
const char *standin_close_url(const struct standin_close *close);

/* Changes what goes wrong. */
void standin_close_set(struct standin_close *close, const struct standin_close_options *options);
void standin_close_fail(struct standin_close *close, const struct close_fault *fault);
void standin_close_heal(struct standin_close *close);

/* Moves the clock: its time is the real one and so much. */
void standin_close_move_clock(struct standin_close *close, int64_t ms);
int64_t standin_close_now_us(const struct standin_close *close);

/* Puts an event into the log and, to each active subscription that covers it, on its way. One with an id that is there
 * is merged into that: it stands in the log with the newer date only. */
void standin_close_add(struct standin_close *close, const struct close_event *event);

/* Appends the value of "properties" in the message of that event, with a subscription id (NULL: none). */
void standin_close_properties(struct standin_close *close, const char *id, const char *subscription,
                              struct buffer *out);

/* ---- subscriptions ---- */

size_t standin_close_subscriptions(struct standin_close *close);

/* Copies id, status or key of the subscription at this place; "" when there is none. */
const char *standin_close_id(struct standin_close *close, size_t at, char out[static 80]);
const char *standin_close_status(struct standin_close *close, size_t at, char out[static 80]);
const char *standin_close_key(struct standin_close *close, size_t at, char out[static 80]);

/* Makes one as somebody else would. */
void standin_close_subscribe(struct standin_close *close, const char *url);

/* Removes the one with this id, as somebody would in Close. */
void standin_close_remove(struct standin_close *close, const char *id);

/* Pauses it as Close does, clearing what waits. */
void standin_close_pause(struct standin_close *close, size_t at, const char *reason);

/* ---- what happened ---- */

struct standin_close_counts {
    size_t requests; /* of the API */
    size_t pages;    /* of the log that were answered 200 */
    size_t limited, cut, refused, expired;
    size_t delivered, failed; /* deliveries, and tries that failed */
    size_t cleared;           /* events that were dropped with a pause */
    size_t waiting;           /* to be delivered */
};
struct standin_close_counts standin_close_counts(struct standin_close *close);

/* Wait until nothing waits to be delivered, so many were delivered, so many requests came, a request is held. Return
 * false after the milliseconds. */
bool standin_close_wait_idle(struct standin_close *close, int64_t ms);
bool standin_close_wait_pages(struct standin_close *close, size_t pages, int64_t ms);
bool standin_close_wait_held(struct standin_close *close, int64_t ms);
bool standin_close_wait_paused(struct standin_close *close, size_t at, int64_t ms);

#endif
