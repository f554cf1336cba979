/* What is on its way of one source: its own reading of the queue, its lanes, its data plane. Nothing in it blocks
 * another source. One thread: the forwarder's. */
#ifndef FORWARD_SOURCE_H
#define FORWARD_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "config/config.h"
#include "forward/batch.h"
#include "forward/pending.h"
#include "forward/post.h"
#include "forward/samples.h"
#include "forward/verdicts.h"
#include "queue/queue.h"

#define HOLDING_MOST (NOTES_PARKED + 64 + 16)
#define STARVED_MS 1000
#define OPERATOR_MS ((int64_t)5 * 60 * 1000) /* between tries while somebody has to mend something */

/* A lane: one batch with the data plane at a time, so what takes the same lane keeps its order. A lead always takes
 * the same lane. */
struct lane {
    struct traffic *traffic;
    struct pending_list waiting; /* not in a batch; all came after those of built */
    struct pending_list built;   /* their messages are in batch; all came after those of sending */
    struct pending_list sending; /* with the data plane now */
    struct batch batch;          /* the next one */
    struct buffer compressed;    /* the one with the data plane */
    size_t sent_bytes;           /* of it, before compression */
    uint64_t number;             /* of it: see struct traffic's sent */
    struct post *post;           /* NULL for a file:// sink */
    moment sent_at;              /* the one with the data plane */
    moment due;                  /* nothing is sent before: back-off */
    moment asked;                /* the data plane asked for a pause until then (429 with Retry-After) */
    unsigned tries;              /* that failed, one after another */
    unsigned failures;           /* of these, answered 5xx or cut: is one message the cause? */
    size_t limit;                /* events a batch may have: less while a refused one is looked for, or after silence */
    unsigned grow_after;         /* successes, before it may have more again */
};

/* What the data plane answered to an empty batch while events are refused. */
enum search_said {
    SAID_NOTHING, /* not asked yet, or no answer that tells anything */
    SAID_GOOD,    /* address and key are good: it is the events */
    SAID_BAD,     /* it is refused too */
};

/* The search for events that the data plane refuses: search.c. Numbers are those of requests, in the order of their
 * sending. */
struct search {
    size_t suspects;       /* events on their way that were in a batch that was refused; 0: there is no search */
    uint64_t since;        /* the last request before it began */
    struct answer refusal; /* of the last event that was refused alone */
    unsigned alike;        /* events refused alone with its status, one after another, and none accepted */
    bool asking;           /* an empty batch is with the data plane */
    enum search_said said; /* to the last one */
    uint64_t vouched;      /* the last one that found all good */
    bool lately_spent;     /* what was accepted before the search has counted for one lone event: not for another */
    bool said_so;          /* events are refused, none is accepted, and that was logged: somebody has to look */
    bool one_only;         /* only one event at a time is sent, until one is accepted: somebody has to mend something */
};

struct traffic {
    const struct config *config;
    const struct source *source;
    struct queue *queue;
    struct gzip *gzip;   /* the forwarder's, as crumb */
    struct crumb *crumb; /* NULL: without */
    const char *file;    /* path of a file:// sink; NULL: a data plane */
    struct rules rules;

    struct lane *lane; /* lanes + 1 of them: the last has no events, but sends empty batches */
    size_t lanes;
    size_t first_lane; /* modulo lanes: whose turn it is to send first */
    struct search search;
    struct pending_list aside;      /* refused alone, and nothing was accepted since: whose fault is it? */
    struct pending_list parked;     /* the data plane fails at each of them alone, while it takes others */
    struct pending_list held;       /* about the same persons as those: they must not overtake */
    struct pending_list ended;      /* their verdicts are not told yet */
    uint64_t holding[HOLDING_MOST]; /* persons of whom something is parked or set aside */
    size_t holding_count;
    uint64_t parked_at;    /* `sent` when something was parked last */
    struct notes recalled; /* what was noted before a restart: parked events are known by it */
    struct in_hand in_hand;
    size_t on_their_way; /* events, twins included */

    uint64_t last_id;     /* read up to here */
    struct events events; /* of the reading in hand */
    moment intake_due;    /* no reading before: memory was out, or the queue failed */
    struct {
        uint64_t id; /* 0: none */
        unsigned char tries;
    } starved;          /* the next event, for which memory was out: it is read alone */
    int64_t starved_ms; /* pause after the first such try; it doubles */
    int64_t backoff_ms; /* likewise after a failed request */

    struct verdicts verdicts;
    moment tell_due;    /* when they are told */
    bool tell_failed;   /* the queue failed to take them: nothing is sent until it does */
    moment settle_due;  /* nothing is sent before: it could not be settled */
    unsigned unsettled; /* times that this was found, one after another */
    bool notes_differ;  /* the queue has other notes than there should be */
    int64_t failing_ms; /* since when the data plane fails; Unix time; 0: it does not */
    uint64_t made_with; /* hash of where and with which key it sends */

    bool closed;          /* sends no more, in this process */
    uint64_t sent;        /* requests, up to now; that is the last one's number */
    uint64_t accepted;    /* number of the last one sent of those that the data plane took */
    moment accepted_at;   /* when the data plane took something last */
    moment blocked_until; /* somebody has to mend something */
    int64_t refused_ms;   /* Unix time: when what was refused last so had been sent */
    struct error refused; /* in its words: what somebody has to mend, whatever else fails meanwhile */
    moment rate_due;      /* deliver_rate allows nothing before */
    struct error why;     /* of the last failure, for those that come meanwhile */

    uint64_t delivered, duplicates, dropped, dead; /* events */
    struct watched watched;                        /* who is told what happens */
};

/* Prepares a source's traffic. All is borrowed and must outlive it. Returns false with the reason; then, too, call
 * traffic_free. */
bool traffic_init(struct traffic *traffic, const struct config *config, const struct source *source,
                  struct queue *queue, struct poster *poster, struct gzip *gzip, struct error *why);

void traffic_free(struct traffic *traffic);

/* An event and its twins end; reason: of DEAD. What waited behind it, parked, goes on. It is kept until the queue was
 * told. */
void traffic_end(struct traffic *traffic, struct pending *pending, enum verdict_kind kind, const char *reason);

/* The event is no longer in the queue: forgets it. Returns whether a twin took its place at the head of the lane. */
bool traffic_forget(struct lane *lane, struct pending *pending);

/* Tells the queue that this event and its twins stay, and until when, unless it was told since it gave them out. */
void traffic_tell_later(struct traffic *traffic, struct pending *pending, moment next, bool refused,
                        const char *reason);

/* Events about this one's person must wait until it has ended: takes those out of its lane. */
void traffic_hold(struct traffic *traffic, struct pending *pending);

/* Whether events about this person must wait so. */
bool traffic_holds(const struct traffic *traffic, uint64_t person);

/* Puts events back to the heads of their lanes, in order; from is empty then. */
void traffic_return(struct traffic *traffic, struct pending_list *from);

/* Whether a request is with the data plane. */
bool traffic_is_sending(const struct traffic *traffic);

/* Since when the oldest one is; MOMENT_NEVER: none is. */
moment traffic_sends_since(const struct traffic *traffic);

struct lane *traffic_lane(struct traffic *traffic, const struct pending *pending);

#endif
