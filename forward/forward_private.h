/* The inside of forward/. What is in flight of one source: its own reading of the queue, its lanes, its data plane.
 * Nothing in it blocks another source. One thread: the forwarder's. */
#ifndef FORWARD_FORWARD_PRIVATE_H
#define FORWARD_FORWARD_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "config/config.h"
#include "forward/answer.h"
#include "forward/batch.h"
#include "forward/crash_guard.h"
#include "forward/pending.h"
#include "forward/post.h"
#include "queue/queue.h"
#include "telemetry/watchers.h"
#include "transform/transform.h"

/* Of one source. All zero tells nobody. */
struct samples {
    const struct source *source;
    struct queue *queue;
    const struct rules *rules;
    struct counted *counted;
    struct recent *recent;
    struct events events; /* of the sample in hand */
};

/* All zero is empty. */
struct verdicts {
    struct verdict *at;
    size_t count;
    size_t capacity;
    char **reasons; /* what the verdicts' reasons point to */
    size_t reason_count;
    size_t reason_capacity;
};

#define HOLDING_MOST (NOTES_PARKED + 64 + 16)
#define STARVED_MS 1000
#define OPERATOR_MS ((int64_t)5 * 60 * 1000) /* between tries while somebody has to mend something */

/* A lane: one batch with the data plane at a time, so what takes the same lane keeps its order. A lead always takes
 * the same lane. */
struct lane {
    struct source_pipeline *pipeline;
    struct pending_list waiting; /* not in a batch; all came after those of built */
    struct pending_list built;   /* their messages are in batch; all came after those of sending */
    struct pending_list sending; /* with the data plane now */
    struct batch batch;          /* the next one */
    struct buffer compressed;    /* the one with the data plane */
    size_t sent_bytes;           /* of it, before compression */
    uint64_t number;             /* of it: see struct source_pipeline's sent */
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
    size_t suspects;       /* events in flight that were in a batch that was refused; 0: there is no search */
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

struct source_pipeline {
    const struct config *config;
    const struct source *source;
    struct queue *queue;
    struct gzip *gzip;         /* the forwarder's, as guard */
    struct crash_guard *guard; /* NULL: without */
    const char *file;          /* path of a file:// sink; NULL: a data plane */
    struct rules rules;

    struct lane *lane; /* lanes + 1 of them: the last has no events, but sends empty batches */
    size_t lanes;
    size_t first_lane; /* modulo lanes: whose turn it is to send first */
    struct search search;
    struct pending_list aside;      /* refused alone, and nothing was accepted since: whose fault is it? */
    struct pending_list parked;     /* the data plane fails at each of them alone, while it takes others */
    struct pending_list held;       /* about the same ordering keys as those: they must not overtake */
    struct pending_list settling;   /* their verdicts are not told yet */
    uint64_t holding[HOLDING_MOST]; /* ordering keys of which something is parked or set aside */
    size_t holding_count;
    uint64_t parked_at;               /* `sent` when something was parked last */
    struct notes recalled;            /* what was noted before a restart: parked events are known by it */
    struct pending_table by_identity; /* of events in flight, duplicates not */
    size_t in_flight;                 /* events, duplicates included */

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
    struct samples samples;                        /* who is told what happens */
};

/* ---- samples.c ---- */

/* All is borrowed and must outlive it, but for watchers itself; what is NULL in it is not told. samples_free gives back
 * what it takes. */
void samples_init(struct samples *samples, const struct source *source, struct queue *queue, const struct rules *rules,
                  const struct watchers *watchers);

/* An event ends; call before the queue is told. newer: its message has the messageId of a newer version. */
void samples_verdict(struct samples *samples, const struct verdict *verdict, bool newer);

/* The data plane answered a batch; status 0: it did not. */
void samples_answer(struct samples *samples, int status);

void samples_free(struct samples *samples);

/* ---- outbox.c ---- */

/* Makes room for count more, so that verdicts_add cannot fail when it must not. Returns false when memory is out. */
bool verdicts_reserve(struct verdicts *verdicts, size_t count);

/* Keeps a copy of a reason for verdicts to point to, until they are settled; NULL when memory is out: then
 * they have no reason. */
const char *verdicts_reason(struct verdicts *verdicts, const char *reason);

/* Adds one, for which there is room. */
void verdicts_add(struct verdicts *verdicts, const struct verdict *verdict);

/* Tells the queue. Returns true when nothing is left to tell; false with the reason when the queue failed. */
bool verdicts_tell(struct verdicts *verdicts, struct queue *queue, const char *source, struct error *why);

void verdicts_free(struct verdicts *verdicts);

/* An event ends so: its verdict is told to the queue, and to those who watch. There must be room for it. */
void outbox_end(struct source_pipeline *pipeline, const struct pending *pending, enum verdict_kind kind,
                const char *reason);

/* Tells the verdicts when it is time. Returns false while the queue fails to take them. */
bool outbox_settle_due(struct source_pipeline *pipeline);

/* ---- source.c ---- */

/* Prepares a source's pipeline. All is borrowed and must outlive it. Returns false with the reason; then, too, call
 * source_free. */
bool source_init(struct source_pipeline *pipeline, const struct config *config, const struct source *source,
                 struct queue *queue, struct poster *poster, struct gzip *gzip, struct error *why);

void source_free(struct source_pipeline *pipeline);

/* An event and its duplicates end; reason: of DEAD. What waited behind it, parked, goes on. It is kept until the queue
 * was told. */
void source_end(struct source_pipeline *pipeline, struct pending *pending, enum verdict_kind kind, const char *reason);

/* The event is no longer in the queue: forgets it. Returns whether a duplicate took its place at the head of the lane.
 */
bool intake_forget(struct lane *lane, struct pending *pending);

/* Tells the queue that this event and its duplicates stay, and until when, unless it was told since it gave them out.
 */
void outbox_defer(struct source_pipeline *pipeline, struct pending *pending, moment next, bool refused,
                  const char *reason);

/* Events about this one's ordering key must wait until it has ended: takes those out of its lane. */
void hold_by_key(struct source_pipeline *pipeline, struct pending *pending);

/* It has ended: those behind it go on. */
void hold_release(struct source_pipeline *pipeline, const struct pending *pending);

/* Whether events about this ordering key must wait so. */
bool hold_has_key(const struct source_pipeline *pipeline, uint64_t ordering_key);

/* Puts events back to the heads of their lanes, in order; from is empty then. */
void hold_return(struct source_pipeline *pipeline, struct pending_list *from);

/* Whether a request is with the data plane. */
bool source_is_sending(const struct source_pipeline *pipeline);

/* Since when the oldest one is; MOMENT_NEVER: none is. */
moment source_sends_since(const struct source_pipeline *pipeline);

struct lane *source_lane(struct source_pipeline *pipeline, const struct pending *pending);

/* One turn: tells verdicts, reads what came, builds batches, sends what is due. Returns whether another turn at once
 * would find something to do. sending: whether a batch may still be sent. */
bool source_step(struct source_pipeline *pipeline, bool sending);

/* Tells the queue all verdicts at once. Returns false when it fails to take them: they are told later. */
bool outbox_settle_now(struct source_pipeline *pipeline);

/* When the next turn is due if nothing comes before; MOMENT_NEVER: not. */
moment source_due(const struct source_pipeline *pipeline);

/* Gives back the memory that a backlog took, once nothing is in flight. Returns whether it was much. */
bool source_rest(struct source_pipeline *pipeline);

/* ---- lane.c ---- */

enum lane_built {
    LANE_BUILT,   /* the message is in the batch */
    LANE_DROPPED, /* the operator's choice */
    LANE_NO_ROOM, /* not in this batch any more */
    LANE_NO_MEMORY,
};

/* Whether another event can still go into the batch that is being built, in order. */
bool lane_has_room(const struct lane *lane);

/* When the lane may send next: its back-off, the source's block, and whether what becomes of it can be settled. May
 * have passed. MOMENT_NEVER: when what is with the data plane now was answered. */
moment lane_due(const struct lane *lane);

/* Likewise, whatever is with the data plane: what is told to those who wait. */
moment lane_put_off_until(const struct lane *lane);

/* When the batch that is built may go: an event that comes to a lane at rest leaves at once; under load, what comes
 * within a few milliseconds goes together. */
moment lane_next(const struct lane *lane);

/* Puts an event's message into the batch, and the event into built. DROPPED, NO_ROOM, NO_MEMORY: the event is left to
 * the caller. */
enum lane_built lane_build(struct lane *lane, struct pending *pending, struct parsed *parsed);

/* Reads events that wait in the lane from the queue again and builds the batch from them. */
void lane_fill(struct lane *lane);

enum lane_sent {
    LANE_IDLE,     /* nothing was sent */
    LANE_SENT,     /* the answer will come */
    LANE_ANSWERED, /* into a file: the answer is there already */
};

/* Sends the batch if there is one, nothing is with the data plane, and it is due. */
enum lane_sent lane_send(struct lane *lane, struct answer *answer);

/* Nothing of this lane is sent before `due`: puts all back to waiting, in order, holds no messages meanwhile, and tells
 * the queue, with the source's reason. */
void lane_put_off(struct lane *lane, moment due);

/* Puts all back to waiting, in order, to be built anew. */
void lane_put_back(struct lane *lane);

/* ---- steps ---- */

/* intake.c: reads the next events of the queue into the lanes. Returns whether there were any. */
bool intake_read(struct source_pipeline *pipeline);

/* answer.c: the lane's batch was answered. */
void answer_follow(struct lane *lane, const struct answer *answer);

/* answer.c: nothing of this source is sent until somebody mends something, but for one event now and then. all_alike:
 * what refuses takes not even an empty batch, so it is no event's fault. */
void answer_operator_must_act(struct lane *lane, const struct answer *answer, bool all_alike);

/* answer.c: says loudly that the data plane refuses. */
void answer_report_refusal(struct lane *lane, const struct answer *answer);

/* answer.c: says which event it was that something happened to, with the source's reason. */
void answer_report_event(struct source_pipeline *pipeline, const struct pending *pending, const char *happening);

/* search.c: the lane's batch was refused in a way that may be one event's fault (OUTCOME_REFUSED). */
void search_refused(struct lane *lane, const struct answer *answer);

/* search.c: whether this is no lane, but the place of empty batches; and such a one was answered. */
bool search_is_asker(const struct lane *lane);
void search_asked(struct lane *asker, const struct answer *answer);

/* search.c: a batch was accepted, as pipeline->accepted says already. */
void search_accepted(struct source_pipeline *pipeline);

/* search.c: the operator must act. all_alike: as above. */
void search_give_up(struct source_pipeline *pipeline, bool all_alike);

/* search.c: when one of those that are set aside is tried again, for want of anything better; and does that if it is
 * time. MOMENT_NEVER: not, as things are. */
moment hold_aside_due(const struct source_pipeline *pipeline);
void hold_try_aside(struct source_pipeline *pipeline);

/* notes.c: whether `check` has found a data plane mended after that moment (Unix time); and ends the wait for the
 * operator if so. */
bool notes_mended_since(const struct source_pipeline *pipeline, int64_t unix_ms);
void notes_look_mended(struct source_pipeline *pipeline);

/* notes.c: takes over what the queue noted before a restart. Call once, as the queue's owner. Returns false with the
 * reason. */
bool notes_recall(struct source_pipeline *pipeline, struct error *why);

/* notes.c: tells the queue what the source's next owner must know, if that has changed. */
void notes_write(struct source_pipeline *pipeline);

/* hold.c: an event that the data plane fails at, alone, is set aside; others pass, but for those about its ordering
 * key. */
void hold_park(struct lane *lane, struct pending *pending);

/* hold.c: whether this event was parked before a restart: then it is again. */
bool hold_was_parked(struct source_pipeline *pipeline, struct pending *pending);

/* hold.c: those whose time has come are tried again, each alone. */
void hold_try_parked(struct source_pipeline *pipeline);

/* source.c: memory was out for this event, tried alone. Counts it, unless memory is out for all. Returns whether it is
 * to be given up. */
bool source_starved(unsigned char *tries);

/* source.c: how long to wait after so many tries (ms); and the reason of one that is given up. */
int64_t source_starved_pause(const struct source_pipeline *pipeline, unsigned tries);
void source_starved_reason(struct error *why, const char *what);

/* outbox.c: whether what becomes of the lane's batch, which is built, could be settled. Else the batch is taken apart,
 * and a smaller one is tried, or nothing of the source for a while. */
bool outbox_can_settle(struct lane *lane);

/* source.c: whether what was received then (Unix time; 0: not known) is older than queue_retention; why says so. */
bool source_is_too_old(const struct source_pipeline *pipeline, int64_t received_ms, struct error *why);

/* requests.c: carries out what commands ask of the forwarder. pipeline: of all sources. */
void requests_serve(struct queue *queue, struct source_pipeline *pipeline, size_t pipelines);

/* source.c: ends what is older than queue_retention. Returns whether the event was. */
bool source_expire(struct source_pipeline *pipeline, struct pending *pending);

#endif
