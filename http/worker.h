/* Private to the FastCGI server: state shared by its threads, and each thread's own. */
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

/* The allowed addresses, IPv4 mapped into IPv6. Empty: all are allowed. */
struct peers {
    struct in6_addr *at;
    size_t count;
};

/* Parses a comma-separated list of addresses; NULL or empty allows all. Returns false with the reason when one is no IP
 * address, rather than silently allow nobody or everybody. */
bool peers_init(struct peers *peers, const char *list, struct error *why);

/* Whether this peer may connect. Peers on Unix sockets always may: the socket's file mode protects it. */
bool peers_allow(const struct peers *peers, const struct sockaddr_storage *address);

void peers_free(struct peers *peers);

/* ---- accept.c: memory for libfcgi. It ends the process when it cannot allocate, so it is given a connection only
 * while there is memory; other requests are answered 503 without it. ---- */

struct headroom {
    atomic_bool watched; /* memory is limited, or ran out once */
};

/* Determines whether memory is limited. */
void headroom_init(struct headroom *headroom);

/* Whether there is enough memory to begin a request in every thread. Free of cost where memory is not limited. Any
 * thread. */
bool headroom_is_there(struct headroom *headroom);

/* Reports that memory ran out: from now on it is checked before each request. Any thread. */
void headroom_was_missing(struct headroom *headroom);

/* Answers 503 to the FastCGI request that begins on this connection, without allocating. Does not close it. */
void headroom_refuse(int fd);

/* ---- the server ---- */

struct http {
    struct http_limits limits;
    const struct route *routes; /* borrowed */
    size_t routes_count;
    int epoll;                 /* watches the listening socket, stop, and idle connections */
    int stop;                  /* an eventfd that stays readable once stopping */
    _Atomic moment stopped_at; /* MOMENT_NEVER: not stopped */
    bool is_tcp;               /* whether the listening socket is TCP */
    struct peers peers;
    struct body_budget budget;
    struct headroom headroom;
    struct idle idle;
    struct deadlines deadlines;
    struct watched *watched; /* one per thread */
    struct worker *workers;
    size_t started;             /* threads that were started */
    pthread_mutex_t lock;       /* protects running */
    pthread_cond_t ended;       /* signalled when running becomes 0 */
    size_t running;             /* threads still running */
    _Atomic moment full_logged; /* last log line about missing descriptors */
};

struct worker {
    struct http *http;
    struct watched *watched;
    pthread_t thread;
    bool ended;  /* under http's lock */
    bool joined; /* used by http_join only */
};

/* A request thread's main function: serves connections until the server stops. argument: its struct worker. */
void *worker_run(void *argument);

/* Arms epoll to wake one thread, once, for the listening socket. operation: EPOLL_CTL_ADD, later EPOLL_CTL_MOD. */
bool worker_listen(struct http *http, int operation);

/* Returns the next readable connection, or -1 when the server has stopped. Blocks. */
int worker_next(struct http *http);

#endif
