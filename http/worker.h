/* The FastCGI server's inside: what its threads share, and what each has for itself. */
#ifndef HTTP_WORKER_H
#define HTTP_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "http/allowed_peers.h"
#include "http/deadlines.h"
#include "http/headroom.h"
#include "http/idle.h"
#include "http/internal.h"

struct http {
    struct http_limits limits;
    const struct route *routes; /* borrowed */
    size_t routes_count;
    int epoll;                 /* the listening socket, stop, and what is kept */
    int stop;                  /* an eventfd: readable for good once stopping */
    _Atomic moment stopped_at; /* MOMENT_NEVER: not yet */
    bool is_tcp;               /* the listening socket is */
    struct peers peers;
    struct room bodies;
    struct headroom headroom;
    struct kept kept;
    struct guard guard;
    struct watched *watched; /* one for each thread */
    struct worker *workers;
    size_t started;             /* threads that were started */
    pthread_mutex_t lock;       /* over running */
    pthread_cond_t ended;       /* running became 0 */
    size_t running;             /* threads that have not ended */
    _Atomic moment full_logged; /* when it was last said that descriptors ran out */
};

struct worker {
    struct http *http;
    struct watched *watched;
    pthread_t thread;
    bool ended;  /* under http's lock */
    bool joined; /* of http_join alone */
};

/* A request thread: serves one connection after another until the server stops. argument is its struct worker. */
void *worker_run(void *argument);

/* Lets the listening socket wake one thread, once: operation is EPOLL_CTL_ADD, later EPOLL_CTL_MOD. */
bool worker_listen(struct http *http, int operation);

/* Returns the next connection with something to read, or -1 when the server has stopped. Blocks. */
int worker_next(struct http *http);

#endif
