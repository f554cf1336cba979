/* What is on its way of one source: its own reading of the queue, its lanes, its data plane. Nothing in it blocks
 * another source. One thread: the forwarder's. */
#ifndef FORWARD_TRAFFIC_H
#define FORWARD_TRAFFIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "forward/batch.h"
#include "forward/gzip.h"
#include "forward/in_hand.h"
#include "forward/pending.h"
#include "forward/post.h"
#include "forward/verdicts.h"
#include "forward/watched.h"
#include "queue/queue.h"
#include "watch/clock.h"

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
    struct post *post;           /* NULL for a file:// sink */
    moment due;                  /* nothing is sent before: back-off */
    unsigned tries;              /* that failed, one after another */
    unsigned failures;           /* of these, answered 5xx or cut: is one message the cause? */
    size_t limit;                /* events a batch may have: less while a refused one is looked for */
};

struct traffic {
    const struct config *config;
    const struct source *source;
    struct queue *queue;
    struct gzip *gzip;   /* the forwarder's, as crumb */
    struct crumb *crumb; /* NULL: without */
    const char *file;    /* path of a file:// sink; NULL: a data plane */
    struct rules rules;

    struct lane *lane;
    size_t lanes;
    struct pending_list aside;      /* refused alone, and nothing was accepted since: whose fault is it? */
    struct pending_list parked;     /* the data plane fails at each of them alone, while it takes others */
    struct pending_list held;       /* about the same persons as those: they must not overtake */
    struct pending_list ended;      /* their verdicts are not told yet */
    uint64_t holding[NOTES_PARKED]; /* persons that something is parked of */
    size_t holding_count;
    uint64_t parked_at;    /* `accepted` when something was parked last */
    struct notes recalled; /* what was noted before a restart: parked events are known by it */
    struct in_hand in_hand;
    size_t on_their_way; /* events, twins included */

    uint64_t last_id;     /* read up to here */
    struct events events; /* of the reading in hand */
    moment intake_due;    /* no reading before: memory was out, or the queue failed */

    struct verdicts verdicts;
    moment tell_due;    /* when they are told */
    bool tell_failed;   /* the queue failed to take them: nothing is sent until it does */
    bool notes_differ;  /* the queue has other notes than there should be */
    int64_t failing_ms; /* since when the data plane fails; Unix time; 0: it does not */
    uint64_t made_with; /* hash of where and with which key it sends */

    uint64_t accepted;    /* batches that the data plane took */
    moment blocked_until; /* somebody has to mend something */
    moment rate_due;      /* deliver_rate allows nothing before */
    struct why why;       /* of the last failure, for those that come meanwhile */

    uint64_t delivered, duplicates, dropped, dead; /* events */
    struct watched watched;                        /* who is told what happens */
};

/* Prepares a source's traffic. All is borrowed and must outlive it. Returns false with the reason; then, too, call
 * traffic_free. */
bool traffic_init(struct traffic *traffic, const struct config *config, const struct source *source,
                  struct queue *queue, struct poster *poster, struct gzip *gzip, struct why *why);

/* One turn: tells verdicts, reads what came, builds batches, sends what is due. Returns whether another turn at once
 * would find something to do. sending: whether a batch may still be sent. */
bool traffic_turn(struct traffic *traffic, bool sending);

/* When the next turn is due if nothing comes before; MOMENT_NEVER: not. */
moment traffic_due(const struct traffic *traffic);

/* Takes over what the queue noted before a restart. Call once, as the queue's owner. Returns false with the reason. */
bool traffic_recall(struct traffic *traffic, struct why *why);

/* Whether nothing is left that is due now. */
bool traffic_is_idle(const struct traffic *traffic);

/* Whether a batch is with the data plane. */
bool traffic_is_sending(const struct traffic *traffic);

void traffic_free(struct traffic *traffic);

/* ---- between the files of forward/ ---- */

/* intake.c: reads the next events of the queue into the lanes. Returns whether there were any. */
bool traffic_take_in(struct traffic *traffic);

/* answered.c: the lane's batch was answered. */
void traffic_answered(struct lane *lane, const struct answer *answer);

/* verdicts of events: an event and its twins end. reason: of DEAD; kept until told. Frees the event. */
void traffic_end(struct traffic *traffic, struct pending *pending, enum verdict_kind kind, const char *reason);

/* The event is no longer in the queue: forgets it. Returns whether a twin took its place at the head of the lane. */
bool traffic_forget(struct lane *lane, struct pending *pending);

/* Tells the queue that this event and its twins stay, and until when, unless it was told since it gave them out. */
void traffic_tell_later(struct traffic *traffic, struct pending *pending, moment next, bool refused,
                        const char *reason);

/* notes.c: tells the queue what the source's next owner must know, if that has changed. */
void traffic_note(struct traffic *traffic);

/* parked.c: an event that the data plane fails at, alone, is set aside; others pass, but for those about its person. */
void traffic_park(struct lane *lane, struct pending *pending);

/* Whether events about this person must wait behind a parked one. */
bool traffic_holds(const struct traffic *traffic, uint64_t person);

/* Something was accepted, or all fail: what that means for those that are parked. */
void traffic_parked_due(struct traffic *traffic);

/* A parked event has ended: those behind it go on. */
void traffic_release(struct traffic *traffic, uint64_t person);

/* careful.c: transform_parse and transform_message, leaving a trace of what is being done. An event that is known to
 * crash them is unusable, and why says so. */
struct parsed *traffic_parse(struct traffic *traffic, const struct event *event, bool *out_of_memory, struct why *why);
enum transform_result traffic_transform(struct traffic *traffic, const struct pending *pending, struct parsed *parsed,
                                        struct buffer *out);

/* retention.c: ends what is older than queue_retention. Returns whether the event was. */
bool traffic_expire(struct traffic *traffic, struct pending *pending);

/* parked.c: whether this event was parked before a restart: then it is again. */
bool traffic_was_parked(struct traffic *traffic, struct pending *pending);

/* Whether nothing of its lane is with the data plane. */
bool traffic_lane_is_free(const struct traffic *traffic, const struct pending *pending);

struct lane *traffic_lane(struct traffic *traffic, const struct pending *pending);

#endif
