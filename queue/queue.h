/* The queue of received events. Any thread of any process appends; one consumer process, the forwarder, reads each
 * source in order and settles. Three engines: `sqlite` keeps events on disk, `postgresql` in a database that several
 * machines may share; `none` keeps nothing, its append waits until the event is settled. They differ for callers only
 * in what queue_append's results mean. Inspection and operator commands are in inspect.h. */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "config/config.h"
#include "transform/transform.h"

struct queue;

enum queue_result {
    QUEUE_STORED,   /* stored durably, or delivered already: answer 200 */
    QUEUE_UNUSABLE, /* the event can never be delivered, for the reason in why: answer 400 */
    QUEUE_FULL,     /* no room: answer 503 */
    QUEUE_UNKNOWN,  /* the deadline passed before the result was known; appending again is safe: answer 503 */
    QUEUE_BROKEN,   /* the queue does not work, for the reason in why: answer 503 */
};

/* The outcome of an event. */
enum verdict_kind {
    VERDICT_DELIVERED,
    VERDICT_DUPLICATE,
    VERDICT_DROPPED, /* by the operator's keep and drop rules */
    VERDICT_DEAD,    /* the event can never be delivered: it becomes a dead letter */
    VERDICT_ERASED,  /* by `forget`: it is gone, and known; counted as a dead letter that was deleted */
    VERDICT_LATER,   /* not settled: the event stays, and is tried again at `next` */
};

struct verdict {
    uint64_t id;
    enum verdict_kind kind;
    struct identity identity; /* of DELIVERED, DROPPED, DEAD and ERASED: stored to recognise duplicates */
    bool remember;            /* false: store no identity (a file:// sink, a body without one) */
    bool refused;             /* of LATER: the data plane refused this event when sent alone (400, 413) */
    moment next;              /* of LATER: when the event is tried again; MOMENT_NEVER: an append shall not wait */
    const char *reason;       /* of DEAD and LATER: text for people; borrowed during the call; NULL: none */
};

/* An event read from the queue; body and length belong to the struct events that holds it. */
struct event {
    uint64_t id; /* grows with each append of its source, never used twice */
    const char *body;
    size_t length;
    int64_t received_ms; /* Unix time; 0 where the engine does not store it */
    bool replay;         /* a dead letter that an operator replays */
};

/* The result of queue_next and queue_again. All zero is empty; reusable; free with events_free. */
struct events {
    struct event *at;
    size_t count;
    size_t capacity;
    struct buffer bodies;
};

/* What the queue knows about an identity. */
struct known {
    bool delivered;        /* or dropped, within dedupe_window */
    int64_t delivered_us;  /* date_updated of the newest version delivered or dropped; or of an older one that is not
                              older than the version asked for */
    bool dead;             /* a dead letter with this identity still exists */
    int64_t dead_us;       /* date_updated of its newest version */
    int64_t dead_first_us; /* and of its oldest */
};

#define NOTES_PARKED 64

/* The forwarder's state of a source, saved for the time after a restart. All zero: none. */
struct notes {
    uint32_t tries;   /* consecutive failed attempts */
    int64_t since_ms; /* of the first of those; Unix time, as next_ms */
    int64_t next_ms;  /* end of the back-off: nothing is sent before */
    bool operator_must_act;
    uint64_t config_fingerprint; /* hash of the settings; notes saved under another hash are ignored */
    char reason[256];            /* of the last failure */
    struct {
        uint64_t id;      /* of a parked event: one that fails while others succeed */
        int64_t since_ms; /* Unix time */
    } parked[NOTES_PARKED];
    uint32_t parked_count;
};

/* Opens the engine that the configuration names. config must outlive the queue. Returns NULL with the reason. */
struct queue *queue_open(const struct config *config, struct error *why);

/* Appends an event's body unchanged; borrowed during the call. Blocks until the event is durable (engine `none`: until
 * it is settled), but not beyond the deadline. Any thread. */
enum queue_result queue_append(struct queue *queue, const char *source, const char *body, size_t length,
                               moment deadline, struct error *why);

/* An append that nobody waits for in a thread of his own. */
struct waiting_append;

/* Called once when an append is decided, by the thread that writes: it must not block. why: of what is not stored. */
typedef void append_done(void *context, enum queue_result result, const struct error *why);

/* Begins to append as queue_append, and returns at once; the body is copied. NULL: not possible (the engine keeps
 * nothing, memory is out, or no thread can be started that writes): queue_append may be. Any thread. */
struct waiting_append *queue_append_start(struct queue *queue, const char *source, const char *body, size_t length,
                                          append_done *done, void *context);

/* Gives up an append (QUEUE_UNKNOWN): the event may be stored nevertheless, so that appending it again is safe. Returns
 * true, with why it took so long, when done was not called and never will be; the append must not be used any more.
 * False: it was, or is just being called. Any thread. */
bool queue_append_give_up(struct queue *queue, struct waiting_append *append, struct error *why);

/* Frees an append for which done was called. */
void queue_append_end(struct queue *queue, struct waiting_append *append);

/* Starts the thread that writes what is appended, which the first append does otherwise: for who appends from threads
 * that must start none. Does nothing when it is there, or cannot be started. Any thread. */
void queue_start_writer(struct queue *queue);

/* Sets the stop deadline: no append waits beyond it, as the process is about to stop. Any thread. */
void queue_set_stop_deadline(struct queue *queue, moment deadline);

/* Says that this process stays, and forwards as long as it does. Where sources are spread over processes
 * (`postgresql`) it counts as one of those that share them; without this it takes what nobody has, for a while. Call
 * before queue_claim. */
void queue_join(struct queue *queue);

/* Acquires the consumer lock: `sqlite` and `none` have one for all sources, `postgresql` has one for each, and takes
 * those that are free; queue_tenure says which. Held until the queue is closed or the process dies. Only the holder, a
 * source's owner, may call what follows, from one thread. Never blocks for long. Returns false with the reason:
 * ERROR_BUSY while other processes have all of them, else they cannot be had. Call again later. Once it has returned
 * true queue_clear_wakeup looks for further ones that are free. */
bool queue_claim(struct queue *queue, struct error *why);

/* Whether the source is this process's: 0: it is not, and calls below that are about it fail. Another number than
 * before: it was lost meanwhile, and claimed again: what is in hand is no longer the caller's, for another owner may
 * have read it again. Changes within calls below and queue_clear_wakeup. */
uint64_t queue_tenure(const struct queue *queue, const char *source);

/* Whether another process is to have this source: read and send nothing more, settle what is in flight, then yield. */
bool queue_should_yield(const struct queue *queue, const char *source);
void queue_yield(struct queue *queue, const char *source);

/* Whether all sources that were claimed were lost, until queue_claim has succeeded again. */
bool queue_is_lost(const struct queue *queue);

/* Reads the next events of a source after the id `after` (0: from the start), oldest first, at most max_count and
 * max_bytes together (the first is always returned). Returns how many; 0: none waits beyond `after`; -1: the queue
 * failed, with the reason. The events returned are in flight until they are settled or given VERDICT_LATER.
 * `postgresql` stops before ids that are missing, and looks whether they may still come when it is asked for those
 * behind. */
int queue_next(struct queue *queue, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
               struct events *found, struct error *why);

/* Reads these events again, in the order of ids, as far as they still wait, up to max_bytes (the first is always
 * returned); *asked says how many of the ids were looked up. An id among those without an event in found was withdrawn:
 * forget it. Otherwise as queue_next. */
int queue_again(struct queue *queue, const char *source, const uint64_t *ids, size_t count, size_t max_bytes,
                struct events *found, size_t *asked, struct error *why);

/* Looks up each identity. Returns false with the reason when the queue failed. */
bool queue_known(struct queue *queue, const char *source, const struct identity *identities, size_t count,
                 struct known *known, struct error *why);

/* Settles events: all verdicts take effect together or none does; only where there is no room for all, some may take
 * effect before others. Their order does not matter, and verdicts on events that are gone change nothing: after a
 * failure pass all of them again. Returns false with the reason when the queue failed; then send nothing until settling
 * works again. */
bool queue_settle(struct queue *queue, const char *source, const struct verdict *verdicts, size_t count,
                  struct error *why);

/* Whether queue_settle would keep these verdicts for the next process: the queue need not be opened anew, and there is
 * room. Where that is in doubt and this process has settled nothing yet, they are written and rolled back. Call before
 * sending events: what is sent and cannot be settled is sent again by the next process. Returns false with the reason.
 */
bool queue_can_settle(struct queue *queue, const char *source, const struct verdict *verdicts, size_t count,
                      struct error *why);

/* Reads (put false) or saves (put true) a source's notes. Returns false with the reason when the queue failed. */
bool queue_note(struct queue *queue, const char *source, struct notes *notes, bool put, struct error *why);

#define QUEUE_ERASES 200 /* in a request */

/* A waiting event that an operator ends. */
struct waiting_end {
    uint64_t event;
    struct identity identity; /* of the event, valid with remember: found without running the parser that may crash */
    bool remember;
};

/* A command's request to the owner (inspect.h, queue_ask): make a waiting event a dead letter, or, with erases > 0,
 * erase these of its source. */
struct queue_request {
    int64_t number;
    char source[104];
    uint64_t event; /* as in struct waiting_end, as the next two */
    struct identity identity;
    bool remember;
    size_t erases;
    struct waiting_end erase[QUEUE_ERASES];
};

/* Ends those of the events, in the order of their ids, that still wait, at most QUEUE_ERASES, in one transaction;
 * reason: of DEAD. By their source's owner, who has none of them in hand. *ended: how many. Returns whether any was;
 * else why has the reason where the queue failed, and is as it was where none waits any more. */
bool queue_end_waiting(struct queue *queue, const char *source, enum verdict_kind kind, const char *reason,
                       const struct waiting_end *ends, size_t count, size_t *ended, struct error *why);

/* Takes the next request about a source that is this process's, or that nobody forwards; answer it with
 * queue_answer_request. Free of cost while there is none; call after each queue_clear_wakeup. Returns false when there
 * is none. */
bool queue_take_request(struct queue *queue, struct queue_request *request);

/* Sends the outcome to the command, in words for people. done: the request took effect durably; else nothing changed.
 * To a request to erase: how many were erased, a blank, and why others were not. */
void queue_answer_request(struct queue *queue, int64_t number, bool done, const char *words);

/* A descriptor that is readable when something was appended since the last queue_clear_wakeup. Owned by the queue. */
int queue_wake_fd(struct queue *queue);

/* Clears the wake-up; read the queue after this call, before sleeping. */
void queue_clear_wakeup(struct queue *queue);

/* Whether a process, this or another, has the source claimed and is woken by appends. It reads what was appended before
 * this call. */
bool queue_has_reader(struct queue *queue, const char *source);

/* How many events are best read at once by queue_next: where each reading waits for a server, more. */
#define QUEUE_READS_MOST 256
size_t queue_reads_at_once(const struct queue *queue);

/* Whether settling in bulk is cheaper, and nothing speaks against it: then verdicts may wait some milliseconds for
 * others. May change at any time. */
bool queue_settles_in_bulk(const struct queue *queue);

/* Whether the system clock has run for a day without a jump of more than a day: only then can ages be trusted. The
 * owner's thread. */
bool queue_is_steady(struct queue *queue);

/* Whether this process must close the queue and open it again: the database is damaged, its files were replaced, or
 * another release has migrated it. Any thread. */
bool queue_must_reopen(struct queue *queue);

void events_free(struct events *events);

/* Closes the queue; no other call may be running. Events waiting in the engine `none` are discarded: their appends were
 * not answered 200. */
void queue_close(struct queue *queue);

#endif
