/* The FastCGI server's inside: what its threads share, and what each has for itself. */
#ifndef HTTP_WORKER_H
#define HTTP_WORKER_H

#include "base/error.h"
#include "http/deadlines.h"
#include "http/idle.h"
#include "http/internal.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

/* ---- accept.c: which peers may connect (FCGI_WEB_SERVER_ADDRS) ---- */

/* The addresses allowed, IPv4 ones mapped into IPv6. None: all are. */
struct peers {
    struct in6_addr *at;
    size_t count;
};

/* Reads a list of addresses separated by commas; NULL or empty allows all. Returns false with the reason when one of
 * them is no IP address, for a list that silently allowed nobody, or all, would help nobody. */
bool peers_init(struct peers *peers, const char *list, struct error *why);

/* Whether this peer may connect. Peers on Unix sockets always may: the file's mode guards those. */
bool peers_allow(const struct peers *peers, const struct sockaddr_storage *address);

void peers_free(struct peers *peers);

/* ---- accept.c: memory for libfcgi. It ends the process when it cannot allocate, so it is given a connection only
 * while there is memory; other requests are answered 503 without it. ---- */

struct headroom {
    atomic_bool watched; /* memory is limited, or was missing once */
};

/* Finds out whether memory is limited. */
void headroom_init(struct headroom *headroom);

/* Whether there is memory for a request's beginning in every thread. Costs nothing where memory is not limited. Any
 * thread. */
bool headroom_is_there(struct headroom *headroom);

/* Memory could not be had: from now on it is looked for before each request. Any thread. */
void headroom_was_missing(struct headroom *headroom);

/* Answers 503 to the FastCGI request that begins on this connection, without any memory. Closes nothing. */
void headroom_refuse(int fd);

/* ---- the server ---- */

struct http {
    struct http_limits limits;
    const struct route *routes; /* borrowed */
    size_t routes_count;
    int epoll;                 /* the listening socket, stop, and what is kept */
    int stop;                  /* an eventfd: readable for good once stopping */
    _Atomic moment stopped_at; /* MOMENT_NEVER: not yet */
    bool is_tcp;               /* the listening socket is */
    struct peers peers;
    struct body_budget budget;
    struct headroom headroom;
    struct idle idle;
    struct deadlines deadlines;
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
