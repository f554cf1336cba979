/* What the files of http/ share: the inside of a request, and how its bytes travel. FastCGI, CGI and the tests each
 * bring a transport of their own. */
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

/* A body up to this size gives way to nobody: it is there in a moment. */
#define BUDGET_SMALL ((size_t)64 * 1024)

/* What one request's body takes. All zero but for what its request sets. */
struct body_share {
    moment started;
    void (*interrupt)(
        void *self); /* makes a read of this body return at once; called by other threads. NULL: nothing */
    void *self;
    bool large;   /* more than BUDGET_SMALL: what follows is under the lock. Its own thread's */
    size_t taken; /* bytes */
    bool listed;  /* it is large and unfinished */
    bool given_way;
    struct body_share *next, *previous;
};

struct body_budget {
    atomic_size_t taken; /* bytes */
    size_t limit;
    _Atomic moment logged; /* when it was last said that there is no memory */
    pthread_mutex_t lock;  /* over the list, and the parts in it */
    struct body_share *first;
};

void budget_init(struct body_budget *budget, size_t limit);
void budget_free(struct body_budget *budget);

/* Takes so many bytes more. Returns false when there is no room for this body: answer 503. */
bool budget_take(struct body_budget *budget, struct body_share *share, size_t bytes);

/* The body has ended: it gives way no more. Returns false when it already has. */
bool budget_finish(struct body_budget *budget, struct body_share *share);

/* Whether it had to give way. */
bool budget_has_given_way(struct body_budget *budget, const struct body_share *share);

/* Gives back all that it has. From then on nobody interrupts it. */
void budget_give_back(struct body_budget *budget, struct body_share *share);

/* Says in the log, not too often, that the process could not have memory. */
void budget_log_memory(struct body_budget *budget);

/* ---- a request ---- */

/* How far a body has come. */
enum arrival {
    ARRIVED_SOME,   /* and more may follow */
    ARRIVED_END,    /* the body ended as it should */
    ARRIVED_BROKEN, /* the connection broke, or the time is up */
};

/* How the bytes of a request travel. self is what the request carries for it. */
struct transport {
    /* A variable's value, which lives as long as the request; NULL when it is absent. */
    const char *(*variable)(void *self, const char *name);

    /* Reads up to size bytes of the body, at least one unless it ends. *got counts them, also at the end. */
    enum arrival (*read)(void *self, char *out, size_t size, size_t *got);

    /* Writes a piece of the answer. Returns false when the client has gone. */
    bool (*write)(void *self, const char *data, size_t length);

    /* The answer is complete: sends it off. Returns false when the client has gone. */
    bool (*finish)(void *self);

    /* Makes a read that waits return at once, broken. Called by other threads. NULL: that cannot be done. */
    void (*interrupt)(void *self);
};

#define PATH_SIZE 256 /* no route and no source's name comes near it */

struct request {
    const struct transport *transport;
    void *self;
    const struct http_limits *limits;
    struct body_budget *budget;
    moment started;
    char path[PATH_SIZE]; /* without the slash at its end */
    bool slash;           /* there was one */
    char *body;
    size_t length;   /* bytes of body that have come */
    size_t capacity; /* bytes of memory behind body */
    struct body_share share;
    bool answered;
};

/* Makes a request of what a transport brings: takes the path over. Returns false when its path is too long for any
 * route. */
bool request_begin(struct request *request);

/* Gives back what the request took. */
void request_end(struct request *request);

/* Finds the route for the request and lets it answer; answers itself where there is none. */
void routes_serve(const struct route *routes, size_t count, struct request *request);

#endif
