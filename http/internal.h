/* What the files of http/ share: the inside of a request, and how its bytes travel. FastCGI, CGI and the tests each
 * bring a transport of their own. */
#ifndef HTTP_INTERNAL_H
#define HTTP_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "http/http.h"
#include "http/request.h"
#include "http/room.h"

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
    struct room *bodies;
    moment started;
    char path[PATH_SIZE]; /* without the slash at its end */
    bool slash;           /* there was one */
    char *body;
    size_t length;   /* bytes of body that have come */
    size_t capacity; /* bytes of memory behind body */
    struct room_part part;
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
