/* The memory of all bodies in hand together. It is taken as bytes arrive. Where it is used up the newest unfinished
 * body gives way, so that those begun before it come to their end; one that is alone may be as large as it likes. Any
 * thread, each request's part by its own. */
#ifndef HTTP_ROOM_H
#define HTTP_ROOM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"

/* A body up to this size gives way to nobody: it is there in a moment. */
#define ROOM_SMALL ((size_t)64 * 1024)

/* What one request's body takes. All zero but for what its request sets. */
struct room_part {
    moment started;
    void (*interrupt)(
        void *self); /* makes a read of this body return at once; called by other threads. NULL: nothing */
    void *self;
    bool large;   /* more than ROOM_SMALL: what follows is under the lock. Its own thread's */
    size_t taken; /* bytes */
    bool listed;  /* it is large and unfinished */
    bool given_way;
    struct room_part *next, *previous;
};

struct room {
    atomic_size_t taken; /* bytes */
    size_t limit;
    _Atomic moment logged; /* when it was last said that there is no memory */
    pthread_mutex_t lock;  /* over the list, and the parts in it */
    struct room_part *first;
};

void room_init(struct room *bodies, size_t limit);
void room_free(struct room *bodies);

/* Takes so many bytes more. Returns false when there is no room for this body: answer 503. */
bool room_take(struct room *bodies, struct room_part *part, size_t bytes);

/* The body has ended: it gives way no more. Returns false when it already has. */
bool room_finish(struct room *bodies, struct room_part *part);

/* Whether it had to give way. */
bool room_has_given_way(struct room *bodies, const struct room_part *part);

/* Gives back all that it has. From then on nobody interrupts it. */
void room_give_back(struct room *bodies, struct room_part *part);

/* Says in the log, not too often, that the process could not have memory. */
void room_log_memory(struct room *bodies);

#endif
