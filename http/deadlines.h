/* Enforces deadlines on connections. libfcgi reads and writes by several blocking calls of its own: a socket timeout
 * would start anew with every byte that trickles in. So one thread knows each request thread's deadline for its client,
 * and shuts the connection down when it has passed, which the blocked call sees as end of file. The deadline thread
 * sleeps until the earliest deadline, indefinitely when there is none. */
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
    NOT_WAITING,   /* working, or idle */
    WAITING_READ,  /* for request bytes; after a cut the request can still be answered */
    WAITING_WRITE, /* for the client to read an answer */
};

/* A request thread's wait. Written by that thread, read by the ones that cut; in a cache line of its own. */
struct watched {
    alignas(64) pthread_mutex_t lock;
    int fd; /* while waiting: stays open until the state changes */
    enum waiting waiting;
    moment deadline;
};

struct deadlines {
    struct watched *watched; /* one per request thread; borrowed */
    size_t count;
    _Atomic moment planned; /* when the thread wakes up next */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool woken;
    bool ending;
    pthread_t thread;
};

/* Starts the thread. Call with all signals blocked. Returns false with the reason. */
bool deadlines_start(struct deadlines *deadlines, struct watched *watched, size_t count, struct error *why);

/* Sets what a request thread waits for. fd must stay open until the thread sets NOT_WAITING. */
void deadlines_watch(struct deadlines *deadlines, struct watched *watched, enum waiting waiting, int fd,
                     moment deadline);

/* Cuts all waiting connections, whatever their deadline. */
void deadlines_cut(struct deadlines *deadlines);

/* Ends the thread. No request thread may be waiting any more. */
void deadlines_stop(struct deadlines *deadlines);

#endif
