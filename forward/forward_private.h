/* The inside of forward/: a source's pipeline, from the queue to its data plane. Nothing in it blocks another source.
 * One thread: the forwarder's. Each struct is written by its own file only; others read it and call the file's
 * functions, which stand below it. */
#ifndef FORWARD_FORWARD_PRIVATE_H
#define FORWARD_FORWARD_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "config/config.h"
#include "forward/pending.h"
#include "forward/post.h"
#include "queue/queue.h"
#include "telemetry/telemetry.h"
#include "transform/transform.h"

#define HOLD_ASIDE_MOST 64 /* events set aside at once */
#define HOLD_KEYS_MOST (NOTES_PARKED + HOLD_ASIDE_MOST + 16)
#define OPERATOR_MS ((int64_t)5 * 60 * 1000) /* between tries while somebody has to mend something */

struct source_pipeline;
struct lane;

/* ---- intake.c: from the queue into the lanes ---- */

/* The window of what is in flight: read from the queue, and not settled. */
struct intake {
    uint64_t last_id;                 /* read up to here */
    struct events events;             /* what was read last */
    moment due;                       /* no reading before: memory was out, or the queue failed; 0: at once */
    bool put_off;                     /* no reading before a lane may send again */
    size_t in_flight;                 /* events, duplicates included */
    struct pending_table by_identity; /* those whose verdict the queue has not taken, duplicates not */
    struct {
        uint64_t id; /* 0: none */
        unsigned char tries;
    } starved; /* the next event, for which memory was out: it is read alone */
};

/* Returns false when memory is out. */
bool intake_init(struct intake *intake);
void intake_free(struct intake *intake);

/* Frees the memory of what was read last. */
void intake_rest(struct intake *intake);

/* Ends a pause that is over. */
void intake_resume(struct intake *intake);

/* Reads the next events of the queue into the lanes. Returns whether there were any. */
bool intake_read(struct source_pipeline *pipeline);

/* Reads the bodies of these events again, into intake.events: as queue_again. */
int intake_read_again(struct source_pipeline *pipeline, const uint64_t *ids, size_t count, size_t *asked,
                      struct error *why);

/* One event fewer is in flight: its verdict waits to be settled. */
void intake_leave(struct intake *intake);

/* The queue has taken this event's verdict. */
void intake_settled(struct intake *intake, const struct pending *pending);

/* The event is no longer in the queue: forgets it. Returns whether a duplicate took its place at the head of the lane.
 */
bool intake_forget(struct lane *lane, struct pending *pending);

/* ---- hold.c: events that wait, and those that wait behind them by ordering key ---- */

struct hold {
    struct pending_list aside;     /* refused alone, and nothing was accepted since: whose fault is it? */
    struct pending_list parked;    /* the data plane fails at each of them alone, while it takes others */
    struct pending_list behind;    /* have the same ordering keys as those: they must not overtake */
    uint64_t keys[HOLD_KEYS_MOST]; /* ordering keys of which something is parked or set aside */
    size_t key_count;
    uint64_t parked_at; /* data_plane.sent when something was parked last */
};

void hold_init(struct hold *hold);
void hold_free(struct hold *hold);

/* Whether something with this event's ordering key is held; then this event is held behind it from now on. */
bool hold_behind(struct source_pipeline *pipeline, struct pending *pending);

/* The event has ended: those behind it go on. */
void hold_release(struct source_pipeline *pipeline, const struct pending *pending);

/* Parks an event that the data plane fails at, alone, until `until`; again, for one that was parked before. The lane
 * goes on without it. */
void hold_park(struct lane *lane, struct pending *pending, moment until);
void hold_park_again(struct source_pipeline *pipeline, struct pending *pending, moment until);

/* Whether there is room for another parked event. */
bool hold_has_room(const struct source_pipeline *pipeline);

/* Whether what was accepted allows that another event is parked: not when the last one's turn showed nothing, for then
 * all may fail. */
bool hold_may_park(const struct source_pipeline *pipeline);

/* Something was accepted: what failed while nothing else was need not sit out its pause, for that may have been no
 * fault of its own; one after another, once for each such failure. */
void hold_hurry_parked(struct source_pipeline *pipeline);

/* Whether this event was parked before a restart: then it is again. */
bool hold_was_parked(struct source_pipeline *pipeline, struct pending *pending);

/* Parked events whose time has come are tried again, each alone. */
void hold_try_parked(struct source_pipeline *pipeline);

/* Sets an event aside, which was refused alone. */
void hold_set_aside(struct source_pipeline *pipeline, struct pending *pending);

/* Puts all that are set aside back to the heads of their lanes, in order. alone: each is tried once more, alone:
 * refused again, the fault is its own; but the data plane may have been mended in between. */
void hold_return_aside(struct source_pipeline *pipeline, bool alone);

/* One of those that are set aside is tried again, for want of anything better: when, and if it is time. MOMENT_NEVER:
 * not, as things are. */
moment hold_aside_due(const struct source_pipeline *pipeline);
void hold_try_aside(struct source_pipeline *pipeline);

/* When the first of the parked events can be tried again; MOMENT_NEVER: none, or its lane is busy. */
moment hold_parked_due(const struct source_pipeline *pipeline);

/* The held event that has this id, or that this id is a duplicate of; NULL: none. And takes it out. */
struct pending *hold_find(const struct hold *hold, uint64_t id);
void hold_remove(struct hold *hold, const struct pending *pending);

/* What else is to be known of an event that ends, to count and show it. */
struct ended_event {
    bool newer;  /* its message has the messageId of a newer version */
    bool replay; /* as in struct pending */
    bool live;   /* likewise */
};

/* ---- outbox.c: verdicts on their way to the queue ---- */

struct outbox {
    struct verdict *at;
    size_t count;
    size_t capacity;
    char **reasons; /* what the verdicts' reasons point to */
    size_t reason_count;
    size_t reason_capacity;
    struct pending_list settling;      /* the events that have ended so, still to be found by their identity */
    moment due;                        /* when they are settled; 0: not known yet */
    bool failed;                       /* the queue failed to take them: nothing is sent until it does */
    moment say_due;                    /* that is not logged again before, ... */
    int64_t say_ms;                    /* ... a pause that doubles; 0: it did not fail */
    moment proof_due;                  /* nothing is sent before: it could not be settled */
    unsigned unproven;                 /* times that this was found, one after another */
    uint64_t ended[VERDICT_LATER + 1]; /* events, since the start, by verdict */
};

void outbox_init(struct outbox *outbox);
void outbox_free(struct outbox *outbox);

/* Frees the memory for verdicts, of which there are none now. */
void outbox_rest(struct outbox *outbox);

/* Makes room for count more verdicts, which nothing that adds one checks for. Returns false when memory is out. */
bool outbox_reserve(struct outbox *outbox, size_t count);

/* An event in flight and its duplicates end so; reason: of DEAD. Takes them. */
void outbox_end(struct source_pipeline *pipeline, struct pending *pending, enum verdict_kind kind, const char *reason);

/* An event that was read just now, and is not in flight, ends so. */
void outbox_end_at_once(struct source_pipeline *pipeline, const struct event *event, enum verdict_kind kind,
                        const char *reason);

/* Counts and shows the end of an event whose verdict the queue has already. event: see samples_verdict. */
void outbox_count(struct source_pipeline *pipeline, const struct verdict *verdict, const struct ended_event *ended,
                  const struct event *event);

/* Tells the queue that this event and its duplicates stay, and until when, unless that was reported since the queue
 * gave them out. */
void outbox_defer(struct source_pipeline *pipeline, struct pending *pending, moment next, bool refused,
                  const char *reason);

/* Settles all verdicts, at once or when it is time. Returns false while the queue fails to take them. */
bool outbox_settle_now(struct source_pipeline *pipeline);
bool outbox_settle_due(struct source_pipeline *pipeline);

/* Before the lane's batch, which is built, is sent: what the data plane has and the queue does not know of yet may
 * never be more than fills all lanes once, for a process that is killed leaves that to be sent again. Settles for it.
 * Returns false while the queue fails to take verdicts. */
bool outbox_makes_way(const struct lane *lane);

/* Whether what becomes of the lane's batch, which is built, could be settled. Else the batch is taken apart, and a
 * smaller one is tried, or nothing of the source for a while. */
bool outbox_can_settle(struct lane *lane);

/* ---- lane.c: a lane's batch, built and sent ---- */

/* A lane: one batch with the data plane at a time, so what takes the same lane keeps its order. An ordering key always
 * takes the same lane. */
struct lane {
    struct source_pipeline *pipeline;
    struct pending_list waiting; /* not in a batch; all came after those of built */
    struct pending_list built;   /* their messages are in batch; all came after those of sending */
    struct pending_list sending; /* with the data plane now */
    struct batch batch;          /* the next one */
    struct buffer compressed;    /* the one with the data plane */
    size_t sent_bytes;           /* of it, before compression */
    uint64_t number;             /* of it: see data_plane.sent */
    struct post *post;           /* NULL for a file:// sink */
    moment sent_at;              /* the one with the data plane */
    moment due;                  /* nothing is sent before: back-off */
    moment asked;                /* the data plane asked for a pause until then (429 with Retry-After) */
    unsigned tries;              /* that failed, one after another */
    unsigned failures;           /* of these, answered 5xx or cut: is one message the cause? */
    size_t limit;                /* events a batch may have: less while a refused one is looked for, or after silence */
    unsigned grow_after;         /* successes, before it may have more again */
    bool newest_next;            /* see lane_try_another */
};

enum lane_built {
    LANE_BUILT,   /* the message is in the batch */
    LANE_DROPPED, /* the operator's choice */
    LANE_NO_ROOM, /* not in this batch any more */
    LANE_NO_MEMORY,
};

/* Returns false with the reason; then, too, call lane_free. */
bool lane_init(struct lane *lane, struct source_pipeline *pipeline, struct poster *poster, struct error *why);
void lane_free(struct lane *lane);

/* Whether another event can still go into the batch that is being built, in order. */
bool lane_has_room(const struct lane *lane);

/* When the lane may send next: its back-off, the source's block, and whether what becomes of it can be settled. May
 * have passed. MOMENT_NEVER: when what is with the data plane now was answered. */
moment lane_due(const struct lane *lane);

/* Likewise, whatever is with the data plane: what is reported for those who wait. */
moment lane_put_off_until(const struct lane *lane);

/* When the batch that is built may go: an event that comes to a lane at rest leaves at once; under load, what comes
 * within a few milliseconds goes together. */
moment lane_next(const struct lane *lane);

/* When the lane may send this parked event, alone. May have passed. MOMENT_NEVER: when what is with the data plane, or
 * another parked event, which goes first, was answered. */
moment lane_parked_due(const struct lane *lane, const struct pending *parked);

/* Puts an event's message into the batch, and the event into built. DROPPED, NO_ROOM, NO_MEMORY: the event is left to
 * the caller. */
enum lane_built lane_build(struct lane *lane, struct pending *pending, struct parsed *parsed);

/* Reads events that wait in the lane from the queue again and builds the batch from them. */
void lane_fill(struct lane *lane);

/* Sends the batch if there is one, nothing is with the data plane, and it is due. A file's answer comes at once, and is
 * followed. Returns whether it was sent. */
bool lane_send(struct lane *lane);

/* What is put off is due now, whatever the data plane asked for; it has failed no less often for that. */
void lane_hurry(struct lane *lane);

/* Nothing of this lane is sent before `due`: puts all back to waiting, in order, holds no messages meanwhile, and
 * reports that to the queue, with the source's reason. */
void lane_put_off(struct lane *lane, moment due);

/* Puts all back to waiting, in order, to be built anew. */
void lane_put_back(struct lane *lane);

/* Likewise, with this event, which is in no list, before all of them; the next batch is one event. */
void lane_send_alone(struct lane *lane, struct pending *pending);

/* The data plane fails at the lane's first event, alone: the next batch is one event of another ordering key, in turn
 * the next and the newest. */
void lane_try_another(struct lane *lane);

/* Batches have half of this many events at most from now on, rounded up. */
void lane_halve(struct lane *lane, size_t count);

/* The event of the lane that has this id, or that this id is a duplicate of; NULL: none. *in_flight: it is with the
 * data plane now. And takes out one that is not. */
struct pending *lane_find(const struct lane *lane, uint64_t id, bool *in_flight);
void lane_remove(struct lane *lane, const struct pending *pending);

/* ---- answer.c: what the data plane answered, and what follows (its table: post.h) ---- */

/* What is known of the data plane. */
struct data_plane {
    uint64_t sent;        /* requests, up to now; that is the last one's number */
    uint64_t accepted;    /* number of the last one sent of those that the data plane took */
    moment accepted_at;   /* when the data plane took something last */
    int64_t failing_ms;   /* since when the data plane fails; Unix time; 0: it does not */
    moment blocked_until; /* somebody has to mend something */
    int64_t refused_ms;   /* Unix time: when what was refused last so had been sent */
    struct error refused; /* in its words: what somebody has to mend, whatever else fails meanwhile */
    struct error why;     /* of the last failure, for those that come meanwhile */
};

/* The number of a request that is sent now. */
uint64_t answer_expect(struct source_pipeline *pipeline);

/* The lane's batch was answered. */
void answer_follow(struct lane *lane, const struct answer *answer);

/* Nothing of this source is sent until somebody mends something, but for one event now and then. all_alike: what
 * refuses takes not even an empty batch, so it is no event's fault. */
void answer_operator_must_act(struct lane *lane, const struct answer *answer, bool all_alike);

/* Says loudly that the data plane refuses. */
void answer_report_refusal(struct lane *lane, const struct answer *answer);

/* Says which event it was that something happened to, with the source's reason. */
void answer_report_event(struct source_pipeline *pipeline, const struct pending *pending, const char *happening);

/* Sets the source's reason: in the answer's words, or in these. */
void answer_set_reason(struct source_pipeline *pipeline, const struct answer *answer);
void answer_set_words(struct source_pipeline *pipeline, const char *words);

/* The data plane is there: the source's lanes, but for this one, need not sit out their back-off. */
void answer_wake_others(const struct lane *lane);

/* The data plane was found mended: nothing waits for the operator any more. */
void answer_mended(struct source_pipeline *pipeline);

/* Takes over what was noted before a restart. */
void answer_recall(struct source_pipeline *pipeline, const struct notes *notes);

/* ---- notes.c: what the source's next owner must know ---- */

struct source_notes {
    struct notes recalled;       /* what was noted before a restart: parked events are known by it */
    uint64_t config_fingerprint; /* hash of where and with which key it sends */
    bool differ;                 /* the queue has other notes than there should be */
    int64_t hurried_ms;          /* Unix time: what was asked for until then, to try at once, was done */
};

/* What is noted must be made anew: notes_write does that, where they differ. */
void notes_changed(struct source_pipeline *pipeline);
void notes_write(struct source_pipeline *pipeline);

/* Takes over what the queue noted before a restart. Call once, as the queue's owner. Returns false with the reason. */
bool notes_recall(struct source_pipeline *pipeline, struct error *why);

/* ---- outbox.c, too: what the forwarder shows of its work ---- */

/* Counts for charts, and a sample of events with their bodies, 20 a second at most. An event that was in flight is read
 * again, and transformed again if it was delivered: that costs less than to keep, of each event in flight that may be
 * shown, what it was made of. All zero shows nothing. */
struct samples {
    bool on;
    struct counted *counted;
    struct recent *recent;
    struct attempts *attempts;
    struct events events; /* of the sample in hand */
};

/* What is NULL in telemetry gets nothing; the rest is borrowed, and must outlive the pipeline. */
void samples_init(struct source_pipeline *pipeline, const struct telemetry *telemetry);
void samples_free(struct samples *samples);

/* An event ends; call before the verdict is settled. event: its body, where that is in hand; NULL: it is read again if
 * it is to be shown. */
void samples_verdict(struct source_pipeline *pipeline, const struct verdict *verdict, const struct ended_event *ended,
                     const struct event *event);

/* Counts what is to be said of a delivered event's messages. */
void samples_messages(struct samples *samples, const struct pending *pending);

/* The data plane answered the lane's batch; status 0: it did not. Call before the batch's events end. */
void samples_answer(const struct lane *lane, const struct answer *answer);

/* ---- source.c: the whole ---- */

/* First pauses; each doubles. The forwarder's, for all its sources. */
struct pauses {
    int64_t starved_ms; /* after memory was out for an event */
    int64_t backoff_ms; /* after a failed request */
};

struct source_pipeline {
    const struct config *config;
    const struct source *source;
    struct queue *queue;
    struct gzip *gzip; /* the forwarder's, as guard and pauses */
    const struct pauses *pauses;
    struct crash_guard *guard; /* NULL: without */
    struct file_sink file;     /* path NULL: there is a data plane */
    struct rules rules;

    struct lane *lane; /* lanes + 1 of them: the last has no events, but sends empty batches */
    size_t lanes;
    size_t first_lane; /* modulo lanes: whose turn it is to send first */
    moment rate_due;   /* deliver_rate allows nothing before */
    bool closed;       /* sends no more, in this process */
    uint64_t tenure;   /* see queue_tenure; 0: the source is another process's, and nothing is done here */
    moment recall_due; /* nothing is begun before: what was noted could not be read */

    struct intake intake;
    struct hold hold;
    struct outbox outbox;
    struct data_plane data_plane;
    struct search search;
    struct source_notes notes;
    struct samples samples;
};

/* What a pipeline borrows of its forwarder. */
struct source_tools {
    const struct config *config;
    struct queue *queue;
    struct poster *poster;
    struct gzip *gzip;
    const struct pauses *pauses;
};

/* Prepares a source's pipeline. All is borrowed and must outlive it, but for tools itself. Returns false with the
 * reason; then, too, call source_free. */
bool source_init(struct source_pipeline *pipeline, const struct source *source, const struct source_tools *tools,
                 struct error *why);
void source_free(struct source_pipeline *pipeline);

/* Follows what queue_tenure says: begins with a source that is this process's now, with what its last owner noted;
 * drops all that is in hand of one that is not any more; gives one back that another process is to have. telemetry and
 * guard may be NULL. */
void source_follow(struct source_pipeline *pipeline, const struct source_tools *tools,
                   const struct telemetry *telemetry, struct crash_guard *guard);

/* Whether it still is this process's: else a call that failed did because of that, and nothing is wrong. */
bool source_is_owned(const struct source_pipeline *pipeline);

/* One step: settles verdicts, reads what came, builds batches, sends what is due. Returns whether another step at once
 * would find something to do. sending: whether a batch may still be sent. */
bool source_step(struct source_pipeline *pipeline, bool sending);

/* Whether `check` has found a data plane mended after that moment (Unix time), or somebody wants it tried now; and ends
 * the wait for the operator and each back-off if so. */
bool source_mended_since(const struct source_pipeline *pipeline, int64_t unix_ms);
void source_look_mended(struct source_pipeline *pipeline);

/* When the next step is due if nothing comes before; MOMENT_NEVER: not. */
moment source_due(const struct source_pipeline *pipeline);

/* Gives back the memory that a backlog took, once nothing is in flight. Returns whether it was much. */
bool source_rest(struct source_pipeline *pipeline);

/* It sends no more, in this process. */
void source_close(struct source_pipeline *pipeline);

/* An event and its duplicates end; reason: of DEAD. What was held behind it goes on. It is kept until that is settled.
 */
void source_end(struct source_pipeline *pipeline, struct pending *pending, enum verdict_kind kind, const char *reason);

/* Whether what was received then (Unix time; 0: not known) is older than queue_retention; why says so. And ends an
 * event that is; returns whether it was. */
bool source_is_too_old(const struct source_pipeline *pipeline, int64_t received_ms, struct error *why);
bool source_expire(struct source_pipeline *pipeline, struct pending *pending);

/* Memory was out for an event, tried alone, as `what` says. Counts that, unless memory is out for all. Returns whether
 * the event is to be given up; why says so. And how long to wait after so many tries (ms). */
bool source_starved(unsigned char *tries, const char *what, struct error *why);
int64_t source_starved_pause(const struct source_pipeline *pipeline, unsigned tries);

/* Whether a request is with the data plane; and since when the oldest one is: MOMENT_NEVER: none is. */
bool source_is_sending(const struct source_pipeline *pipeline);
moment source_sends_since(const struct source_pipeline *pipeline);

/* Whether a lane has events to send. */
bool source_has_waiting(const struct source_pipeline *pipeline);

/* Another lane is the first to send from now on. */
void source_rotate(struct source_pipeline *pipeline);

/* deliver_rate: what is sent now takes its time from what comes after it. */
void source_take_rate(struct source_pipeline *pipeline, size_t events);

struct lane *source_lane(const struct source_pipeline *pipeline, const struct pending *pending);

#endif
