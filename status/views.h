/* What the pages show, and what makes them. Each appends to out; when out->failed then, memory was out. */
#ifndef STATUS_VIEWS_H
#define STATUS_VIEWS_H

#include "health/facts.h"
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

#endif
