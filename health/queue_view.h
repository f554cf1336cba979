/* Looking into the queue for the status page: a connection of its own, opened when it is first needed, used by one
 * request at a time. */
#ifndef HEALTH_QUEUE_VIEW_H
#define HEALTH_QUEUE_VIEW_H

#include <pthread.h>
#include <stdbool.h>

#include "config/config.h"
#include "health/facts.h"
#include "queue/inspect.h"
#include "telemetry/telemetry.h"

struct queue_view {
    const struct config *config;
    pthread_mutex_t lock;       /* over what follows */
    struct telemetry telemetry; /* borrowed; empty until the stages stand */
    struct queue *queue;        /* NULL: not opened yet */
    moment tried;               /* opening it failed then; 0: it did not */
    struct error why;           /* why */
};

void queue_view_init(struct queue_view *view, const struct config *config);

/* Everything that is known. others: with what other machines count (facts_add_others). NULL: memory is out. Any thread,
 * as all that follows. */
struct facts *queue_view_facts(struct queue_view *view, bool others);

/* Recent events and the oldest ones that wait, `waiting` at most, in one order: what was received last comes first. Of
 * one source or (NULL) of all. out has room for QUEUE_VIEW_EVENTS(waiting). Returns how many. */
#define QUEUE_VIEW_EVENTS(waiting) ((waiting) + RECENT_COUNT)
size_t queue_view_events(struct queue_view *view, const struct facts *facts, const char *source, size_t waiting,
                         struct recent_event *out);

/* Dead letters beyond an id. *more: whether there are others behind them. */
void queue_view_letters(struct queue_view *view, const char *source, uint64_t after, size_t most,
                        struct letters *letters, bool *more);

/* The sample of recent events, the last that ended first; out has room for RECENT_COUNT. Returns how many. */
size_t queue_view_recent(struct queue_view *view, struct recent_event *out);

/* Describes an event, which waits or is a dead letter, by what transform/shown reads of its body: the parser is not
 * used, since a body may crash it. What cannot be read of it is zero. source: the name of the event's source. */
void queue_view_describe(struct recent_event *out, const char *source, const char *body, size_t length);

/* One recent event with its bodies. */
bool queue_view_event(struct queue_view *view, uint64_t number, struct recent_whole *whole);

/* One event that waits, by its id in its source's queue. */
bool queue_view_waiting(struct queue_view *view, const char *source, uint64_t id, struct events *found);

/* What was tried with an event that was received then: see attempts_of. */
size_t queue_view_attempts(struct queue_view *view, const char *source, uint64_t id, int64_t since_ms,
                           struct attempt out[static ATTEMPTS_KEPT]);

/* One dead letter. */
bool queue_view_letter(struct queue_view *view, uint64_t id, struct letters *letters);

/* Sends a dead letter on its way again. Returns false with the reason. */
bool queue_view_replay(struct queue_view *view, uint64_t id, size_t *done, struct error *why);

/* Sends so many dead letters of a source on their way again, the oldest first, in steps, until the deadline. *done
 * counts, also when it fails, with the reason. */
bool queue_view_replay_all(struct queue_view *view, const char *source, size_t most, moment deadline, size_t *done,
                           struct error *why);

/* Wakes the process that forwards. */
void queue_view_wake(struct queue_view *view);

void queue_view_free(struct queue_view *view);

#endif
