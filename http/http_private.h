/* Shared by the files of http/: requests as the transports read them, and the FastCGI server's threads, connections and
 * descriptors. */
#ifndef HTTP_HTTP_PRIVATE_H
#define HTTP_HTTP_PRIVATE_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/error.h"
#include "http/http.h"

/* ---- body.c: the memory of all bodies in hand together. It is taken as bytes arrive. Where it is used up the newest
 * unfinished body gives way, so that those begun before it come to their end; one that is alone may be as large as it
 * likes. Any thread, each request's share by its own. ---- */

/* One body's share of the budget. Zero-initialized except for the members that the request sets. */
struct body_share {
    moment started;
    void (*interrupt)(void *self); /* makes a blocked read of this body return; called by other threads. NULL: none */
    void *self;
    bool large;   /* more than BUDGET_SMALL: the members below are under the lock. Own thread only */
    size_t taken; /* bytes */
    bool listed;  /* in the list: large and unfinished */
    bool given_way;
    struct body_share *next, *previous;
};

struct body_budget {
    atomic_size_t taken; /* bytes */
    size_t limit;
    _Atomic moment logged; /* last log line about missing memory */
    pthread_mutex_t lock;  /* protects the list and its members */
    struct body_share *first;
};

void budget_init(struct body_budget *budget, size_t limit);
void budget_free(struct body_budget *budget);

/* Reserves that many more bytes. Returns false when there is no room for this body: answer 503. */
bool budget_take(struct body_budget *budget, struct body_share *share, size_t bytes);

/* Marks the body as complete: it no longer gives way. Returns false when it already had to. */
bool budget_finish(struct body_budget *budget, struct body_share *share);

/* Whether the body had to give way. */
bool budget_has_given_way(struct body_budget *budget, const struct body_share *share);

/* Returns all bytes of the body to the budget. It is not interrupted after that. */
void budget_release(struct body_budget *budget, struct body_share *share);

/* Logs, rate-limited, that the process is out of memory. */
void budget_log_memory(struct body_budget *budget);

/* ---- a request ---- */

/* Result of reading a part of a body. */
enum arrival {
    ARRIVED_SOME,   /* more may follow */
    ARRIVED_END,    /* end of the body */
    ARRIVED_BROKEN, /* connection broken or deadline passed */
};

/* A transport for requests. self is the request's member of that name. */
struct transport {
    /* Returns a variable's value, valid as long as the request; NULL when absent. */
    const char *(*variable)(void *self, const char *name);

    /* Reads up to size bytes of the body, at least one unless it ends. *got: their number, also at the end. */
    enum arrival (*read)(void *self, char *out, size_t size, size_t *got);

    /* Writes a part of the answer. Returns false when the client is gone. */
    bool (*write)(void *self, const char *data, size_t length);

    /* Flushes the complete answer. Returns false when the client is gone. */
    bool (*finish)(void *self);

    /* Makes a blocked read return ARRIVED_BROKEN. Called by other threads. NULL: not possible. */
    void (*interrupt)(void *self);
};

#define PATH_SIZE 256 /* no route and no source's name comes near it */

struct request {
    const struct transport *transport;
    void *self;
    const struct http_limits *limits;
    struct body_budget *budget;
    moment started;
    char path[PATH_SIZE]; /* without trailing slash */
    bool slash;           /* it had a trailing slash */
    char *body;
    size_t length;   /* bytes received */
    size_t capacity; /* bytes allocated */
    struct body_share share;
    bool answered;
};

/* Initializes a request from its transport: reads the path. Returns false when the path is too long for any route. */
bool request_begin(struct request *request);

/* Frees what the request holds. */
void request_end(struct request *request);

/* Finds the request's route and calls its handler; answers itself when there is none. */
void routes_serve(const struct route *routes, size_t count, struct request *request);

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
    bool watched; /* memory is limited */
};

/* Determines whether memory is limited. */
void headroom_init(struct headroom *headroom);

/* Whether there is enough memory to begin a request in every thread. Free of cost where memory is not limited. Any
 * thread. */
bool headroom_is_sufficient(const struct headroom *headroom);

/* Answers 503 to the FastCGI request that begins on this connection, without allocating. Does not close it. */
void headroom_refuse(int fd);

/* ---- worker.c: enforces deadlines on connections. libfcgi reads and writes by several blocking calls of its
 * own: a socket timeout would start anew with every byte that trickles in. So one thread knows each request
 * thread's deadline for its client, and shuts the connection down when it has passed, which the blocked call sees
 * as end of file. The deadline thread sleeps until the earliest deadline, indefinitely when there is none. ---- */

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

/* ---- accept.c: connections without a request: kept open by the web server (FCGI_KEEP_CONN), or new and still
 * silent. They wait in epoll, so that none occupies a thread, and in a list, so that they can be handed over to the
 * program executed next. Any thread. ---- */

struct idle_connection;

struct idle {
    int epoll; /* borrowed */
    pthread_mutex_t lock;
    struct idle_connection *first;
    bool closed;         /* connections are no longer watched */
    atomic_size_t fresh; /* connections parked before their first byte */
};

/* Initializes it. Connections are watched by this epoll descriptor; their events carry a struct idle_connection. */
bool idle_init(struct idle *idle, int epoll);

/* Takes ownership of a connection until it becomes readable; closes it on failure. fresh: it has sent nothing yet. */
void idle_park(struct idle *idle, int fd, bool fresh);

/* From now on parked connections are kept for the hand-over and not watched, except fresh ones. */
void idle_stop(struct idle *idle);

/* Makes all connections inheritable and names them in the environment. The struct must not be used any more. */
void idle_hand_over(struct idle *idle);

/* Adopts the connections that a predecessor named in the environment, and removes that variable. Call before threads
 * start. */
void idle_take_over(struct idle *idle);

/* Closes all connections and frees them. The struct must not be used any more. */
void idle_free(struct idle *idle);

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
