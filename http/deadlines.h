/* Cuts connections whose time is up. libfcgi reads and writes in blocking calls of its own making, several in a row:
 * a time-out on the socket would begin anew with every byte that trickles in. So one thread knows until when each
 * request thread may wait for its client, and shuts the connection down at that moment: what waits there then sees its
 * end. The guard sleeps until the earliest such moment, and for good while nobody waits. */
#ifndef HTTP_DEADLINES_H
#define HTTP_DEADLINES_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/error.h"

enum waiting {
    NOT_WAITING,   /* at work, or idle */
    WAITING_READ,  /* for bytes of a request: cut, it can still be answered */
    WAITING_WRITE, /* for the client to take an answer */
};

/* What one request thread waits for. Written by that thread, read by those who cut; in a cache line of its own. */
struct watched {
    alignas(64) pthread_mutex_t lock;
    int fd; /* while waiting: valid until watched_set says otherwise */
    enum waiting waiting;
    moment deadline;
};

struct deadlines {
    struct watched *watched; /* one for each request thread; borrowed */
    size_t count;
    _Atomic moment planned; /* when it looks again */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool woken;
    bool ending;
    pthread_t thread;
};

/* Starts the thread. Call with all signals blocked. Returns false with the reason. */
bool deadlines_start(struct deadlines *deadlines, struct watched *watched, size_t count, struct error *why);

/* Says what a request thread waits for from now on. fd must stay open until the thread says NOT_WAITING. */
void deadlines_watch(struct deadlines *deadlines, struct watched *watched, enum waiting waiting, int fd,
                     moment deadline);

/* Cuts all that wait, whatever time they have left. */
void deadlines_cut(struct deadlines *deadlines);

/* Ends the thread. Nobody may be watched any more. */
void deadlines_stop(struct deadlines *deadlines);

#endif
