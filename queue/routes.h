/* Sources whose queues are in different places (`queue_url` in their sections): each call goes to the queue of its
 * source, and one that is away stops none of the others.
 *
 * A place has a copy of the configuration with its own sources only, and knows nothing of the others. What would hold
 * up the thread that forwards for long, connecting and claiming, is done by a thread of each place; that thread also
 * keeps a place from being lost while the other one is held up at a server that does not answer, which is seen after
 * seconds. */
#ifndef QUEUE_ROUTES_H
#define QUEUE_ROUTES_H

#include <pthread.h>
#include <stdatomic.h>

#include "queue/engine.h"

struct routes;

struct route {
    struct routes *routes;
    struct config config; /* a shallow copy */
    void *state;          /* the engine's */
    pthread_t claimer;
    bool has_claimer;
    bool tried;          /* by the claimer, since it began */
    struct error why;    /* why nothing is claimed; with tried and claimed_once under routes->lock */
    pthread_mutex_t use; /* held over each call of an owner */
    moment used;         /* when there was one last; under `use` */
    atomic_bool claimed; /* else the forwarder makes no such call */
    moment away_until;   /* of inspection: it failed a moment ago, and is not asked before */
    struct error away;   /* how */
    struct error missed; /* why it was left out of what was asked of all; "": it never was */
};

struct routes {
    const struct config *config;
    const struct engine *engine;
    struct route *route;
    size_t count;
    int wake_fd; /* epoll: those of all, and poke_fd */
    int poke_fd; /* a claimer has looked in the forwarder's place */
    bool claimed_once;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ending;
};

/* The place of a source; of one that is not configured: the first one. */
struct route *route_of(struct routes *routes, const char *source);

/* As queue_try, of all places. */
bool routes_try(const struct config *config, struct queue_setup *setup, bool *is_there, struct error *why);

/* Adds what is to be said of a place: all of the first one, and the worries of each. */
void routes_add_setup(struct queue_setup *all, const struct queue_setup *one, const struct route *route);

/* ---- routes_claim.c ---- */

/* Before each call of an owner on a place, one at a time. Returns false, and nothing is to be ended, when nothing is
 * claimed there. */
bool route_begin_use(struct route *route);

/* Where all that was claimed is lost the place's thread tries again from then on. */
void route_end_use(struct route *route);

void routes_join(void *state);
bool routes_claim(void *state, struct error *why);
bool routes_is_lost(void *state);

/* ---- routes_inspect.c ---- */

extern const struct inspection routes_inspection;

/* Whether a place may be asked; else false with the reason. */
bool route_may_ask(const struct route *route, struct error *why);

/* Notes whether a call on it worked. Returns that. */
bool route_asked(struct route *route, bool good, struct error *why);

/* Where a source is that may not be configured any more. */
struct route *routes_find(struct routes *routes, const char *source);

/* ---- routes_letters.c ---- */

int routes_letters(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                   struct letters *found, struct error *why);
bool routes_replay(void *state, const uint64_t *ids, size_t count, size_t *done, struct error *why);
bool routes_discard(void *state, const uint64_t *ids, size_t count, size_t *done, struct error *why);

#endif
