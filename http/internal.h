/* Private to http/: the request, and the interface of transports, which FastCGI, CGI and the tests implement. */
#ifndef HTTP_INTERNAL_H
#define HTTP_INTERNAL_H

#include "base/clock.h"
#include "http/http.h"
#include "http/request.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* ---- body.c: the memory of all bodies in hand together. It is taken as bytes arrive. Where it is used up the newest
 * unfinished body gives way, so that those begun before it come to their end; one that is alone may be as large as it
 * likes. Any thread, each request's share by its own. ---- */

/* A body up to this size never gives way: it arrives quickly. */
#define BUDGET_SMALL ((size_t)64 * 1024)

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

#endif
