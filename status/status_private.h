/* What the pages show, and what makes them, for the files of status/ alone. What writes appends to out; when
 * out->failed then, memory was out. */
#ifndef STATUS_STATUS_PRIVATE_H
#define STATUS_STATUS_PRIVATE_H

#include "health/facts.h"
#include "health/queue_view.h"
#include "status/access.h"
#include "telemetry/recent.h"

#define VIEW_EVENTS 100  /* shown at once, at most */
#define VIEW_LETTERS 100 /* likewise */

/* One page's worth of facts. */
struct view {
    const struct facts *facts;
    const char *source;                /* the only one to be shown; NULL: all */
    const struct recent_event *events; /* newest first; number 0: it waits */
    size_t events_count;
    const struct letters *letters;
    bool more_letters;
    uint64_t letters_after; /* where the next page of them begins, if there is more */
    const char *base;       /* the program's address, without a slash at its end */
    char token[TOKEN_SIZE];
    const char *notice;       /* what the last action did; NULL: nothing */
    const char *shown_key;    /* a webhook URL with its key, asked for just now; NULL: none */
    const char *shown_source; /* whose it is */
};

/* One event, with its bodies as they are to be shown. */
struct view_bodies {
    const struct recent_event *event;
    struct buffer incoming, message;          /* indented; empty: not known */
    const char *incoming_note, *message_note; /* "": none */
    const char *title;                        /* what it is */
};

/* page.c: the status page, and the page of one event. */
void page_write(struct buffer *out, const struct view *view);
void page_write_event(struct buffer *out, const struct view_bodies *bodies);

/* Appends the header lines of those pages: they allow their own style and script and nothing else. */
void page_headers(struct buffer *out);

/* json.c */
void json_write(struct buffer *out, const struct view *view);
void json_write_event(struct buffer *out, const struct view_bodies *bodies);

/* metrics.c: open_metrics: in OpenMetrics' form, else in Prometheus' older one. */
void metrics_write(struct buffer *out, const struct facts *facts, bool open_metrics);

/* ---- chart.c: charts as inline SVG ---- */

/* Appends the figures of the last hour and of the last day: events a minute, delay, size; of all sources together, or
 * of the one named (NULL: all). */
void chart_write_all(struct buffer *out, const struct facts *facts, const char *source);

/* The sum of all sources' minutes, or of the one named; out has COUNTED_MINUTES. */
void chart_sum(const struct facts *facts, const char *source, struct tally_minute *out);

/* ---- bodies.c: one event or dead letter, opened: its bodies as people may see them ---- */

/* All zero is empty. */
struct bodies {
    struct view_bodies view;
    struct recent_whole *whole; /* of an event */
    struct recent_event event;  /* made of a dead letter */
    struct letters letters;
};

/* Return false when it is not kept any more, or memory is out. Then, too, call bodies_free. */
bool bodies_of_event(struct bodies *bodies, struct queue_view *queue_view, uint64_t number);
bool bodies_of_letter(struct bodies *bodies, const struct config *config, struct queue_view *queue_view, uint64_t id);

void bodies_free(struct bodies *bodies);

/* ---- actions.c: what can be done on the page: replay a dead letter, show a webhook URL with its key ---- */

/* A webhook URL with its key in it. */
struct shown_key {
    char source[104];
    char url[1024];
};

enum action_result {
    ACTION_REFUSED, /* and answered */
    ACTION_REPLAYED,
    ACTION_KEY,
};

/* Reads what was posted and does it, if it comes from our own page. *done: how many dead letters went on their way. */
enum action_result action_take(const struct config *config, struct tokens *tokens, struct queue_view *queue_view,
                               struct request *request, struct shown_key *key, size_t *done);

/* The program's own address as the request came to it, without a slash at its end. */
void action_base(const struct request *request, char *out, size_t size);

/* Overwrites it. */
void action_forget(struct shown_key *key);

#endif
