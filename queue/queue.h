/* Events as they came, and what became of them. Any thread of any process appends; one forwarder takes, in order and
 * per source, and settles. Behind this face stand engines: `sqlite` keeps events on disk; `none` keeps nothing, its
 * append waits until the event is settled. No engine's nature shows here but in what queue_append's results mean. For
 * looking into the queue there is inspect.h. */
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
    QUEUE_STORED,   /* safe, or delivered already: answer 200 */
    QUEUE_UNUSABLE, /* it can never be delivered, and why says why: answer 400 */
    QUEUE_FULL,     /* no room: answer 503 */
    QUEUE_UNKNOWN,  /* the deadline came first; appending it again is safe: answer 503 */
    QUEUE_BROKEN,   /* the queue cannot work, and why says why: answer 503 */
};

/* What became of an event. */
enum verdict_kind {
    VERDICT_DELIVERED,
    VERDICT_DUPLICATE,
    VERDICT_DROPPED, /* by the operator's keep and drop */
    VERDICT_DEAD,    /* it can never be delivered */
    VERDICT_LATER,   /* not settled: it was tried, or could not be yet, and stays */
};

struct verdict {
    uint64_t id;
    enum verdict_kind kind;
    struct identity identity; /* of DELIVERED, DROPPED and DEAD: remembered, to know duplicates by */
    bool remember;            /* false: keep no identity (a file:// sink, a body without one) */
    bool refused;             /* of LATER: the data plane refused this very event, alone (400, 413) */
    moment next;              /* of LATER: when it is tried again */
    const char *reason;       /* of DEAD and LATER: words for people; borrowed during the call; NULL: none */
};

/* An event taken from the queue; body and length belong to the struct events it stands in. */
struct event {
    uint64_t id; /* grows with each append of its source, never used twice */
    const char *body;
    size_t length;
    int64_t received_ms; /* Unix time; 0 where the engine does not keep it */
    bool replay;         /* a dead letter that an operator sent on its way again */
};

/* What queue_next and queue_again found. All zero is empty; reuse it, free it with events_free. */
struct events {
    struct event *at;
    size_t count;
    size_t capacity;
    struct buffer bodies;
};

/* What the queue remembers of an identity. */
struct known {
    bool delivered;       /* or dropped, within dedupe_window */
    int64_t delivered_us; /* the newest version that was */
    bool dead;            /* a dead letter that is still kept */
    int64_t dead_us;      /* the newest version that is */
};

#define NOTES_PARKED 16

/* What the forwarder wants to know of a source after a restart. All zero: nothing. */
struct notes {
    uint32_t tries;   /* that failed, one after another */
    int64_t since_ms; /* of the first of them; Unix time, as next_ms */
    int64_t next_ms;  /* nothing is sent before */
    bool operator_must_act;
    uint64_t made_with; /* what the configuration was then: under another one the notes mean nothing */
    char reason[256];   /* of the last failure */
    struct {
        uint64_t id;      /* of an event that is parked: it fails while others succeed */
        int64_t since_ms; /* Unix time */
    } parked[NOTES_PARKED];
    uint32_t parked_count;
};

/* Opens the engine that the configuration names. config must outlive it. Returns NULL with the reason. */
struct queue *queue_open(const struct config *config, struct error *why);

/* Takes an event's body, as it came, into the queue. Borrowed during the call. Blocks, the engine `none` until the
 * event is settled, but not beyond the deadline. Any thread. */
enum queue_result queue_append(struct queue *queue, const char *source, const char *body, size_t length,
                               moment deadline, struct error *why);

/* No append waits beyond this moment any more: the process is about to stop. Any thread. */
void queue_hurry(struct queue *queue, moment deadline);

/* Takes the reading of all sources into this process, until it closes the queue or dies: only the owner may call what
 * follows, from one thread. Never blocks. Returns false with the reason while another process has it: ask again. */
bool queue_own(struct queue *queue, struct error *why);

/* Finds the next events of a source after the id `after` (0: from the start), oldest first, until there are max_count
 * or the next would go beyond max_bytes (the first always comes). Returns how many; 0: none waits beyond `after`;
 * -1: the queue failed, with the reason. What it found counts as on its way until it is settled or LATER. */
int queue_next(struct queue *queue, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
               struct events *found, struct error *why);

/* Finds these events again, in the order asked, as far as they still wait, up to max_bytes (the first always comes);
 * *asked says how many ids that covers. An id before *asked that is not among what was found was withdrawn: forget it.
 * Returns and means otherwise what queue_next does. */
int queue_again(struct queue *queue, const char *source, const uint64_t *ids, size_t count, size_t max_bytes,
                struct events *found, size_t *asked, struct error *why);

/* Says what is remembered of each identity. Returns false with the reason when the queue failed. */
bool queue_known(struct queue *queue, const char *source, const struct identity *identities, size_t count,
                 struct known *known, struct error *why);

/* Ends events: all verdicts take effect together or none does; only where there is no room for that, those that fit may
 * take effect before the others. The order does not matter, and verdicts on events that are gone change nothing: tell
 * all of them again after a failure. Returns false with the reason when the queue failed; then nothing may be sent
 * until it works. */
bool queue_settle(struct queue *queue, const char *source, const struct verdict *verdicts, size_t count,
                  struct error *why);

/* Whether such a settling would find room: where there is reason to doubt it, and this process has not settled anything
 * yet, it is written, and undone. To be asked before events are sent that would be sent again by the next process if it
 * cannot be settled what became of them. Returns false with the reason. */
bool queue_can_settle(struct queue *queue, const char *source, const struct verdict *verdicts, size_t count,
                      struct error *why);

/* Reads (put false) or keeps (put true) a source's notes. Returns false with the reason when the queue failed. */
bool queue_note(struct queue *queue, const char *source, struct notes *notes, bool put, struct error *why);

/* What an operator's command asks of the owner: that a waiting event becomes a dead letter (inspect.h, queue_ask). */
struct queue_request {
    int64_t number;
    char source[104];
    uint64_t event;
    struct identity identity; /* of the event, with remember: found out without trusting the parser */
    bool remember;
};

/* Takes the next request, to be answered with queue_answer_request. Costs nothing while nobody asks; look after each
 * queue_woken. Returns false: there is none. */
bool queue_take_request(struct queue *queue, struct queue_request *request);

/* Tells the command what became of it, in words for people. done: it is so, durably; else nothing was done. */
void queue_answer_request(struct queue *queue, int64_t number, bool done, const char *words);

/* A descriptor that is readable when something was appended since the last queue_woken. Stays the queue's. */
int queue_wake_fd(struct queue *queue);

/* Resets it; look at the queue after this, before sleeping. */
void queue_woken(struct queue *queue);

/* Whether settling is better done in bulk: verdicts may then wait some milliseconds for others. */
bool queue_settles_in_bulk(const struct queue *queue);

/* Whether the calendar's clock has run for a day without a jump of more than a day: only then can ages be believed.
 * The owner's thread. */
bool queue_is_steady(struct queue *queue);

/* Whether this process must open the queue anew: it is damaged, or another release has changed it. Any thread. */
bool queue_must_reopen(struct queue *queue);

void events_free(struct events *events);

/* Nobody may be in any of the above. What waits in the engine `none` is gone, as its appends were told. */
void queue_close(struct queue *queue);

#endif
