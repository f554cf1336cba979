/* Serving requests: the FastCGI threads, the one CGI request, and the routes. Only http/ knows libfcgi. */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "http/request.h"

struct http;

/* What answers a path. The first route that matches is taken; routes are borrowed and must outlive the server. */
struct route {
    const char *path; /* exact ("/v1/webhook", "" for none), or "/" + "*" for one name of a source */
    void (*handle)(void *context, struct request *request);
    void *context;
    bool exact; /* nothing answers with a slash behind the path: a web server may protect the path alone */
};

struct http_limits {
    size_t max_body;            /* bytes of one body */
    size_t max_bodies;          /* bytes of all bodies in hand together */
    int64_t request_timeout_ms; /* for a whole request to arrive */
    size_t threads;
};

/* True when descriptor 0 is a listening socket: started by a FastCGI spawner. */
bool http_is_fastcgi(void);

/* True when the environment is a CGI request's. */
bool http_is_cgi(void);

/* Serves the one CGI request of this process, over stdin and stdout. Returns when it is answered. SIGPIPE must be
 * ignored. */
void http_serve_cgi(const struct http_limits *limits, const struct route *routes, size_t count);

/* Starts the threads that take requests from descriptor 0, which becomes non-blocking; all signals are blocked in them.
 * SIGPIPE must be ignored. Takes over the idle connections that a predecessor's http_hand_over named. Where the
 * system allows fewer threads it goes on with those, one at least, and logs how many. Returns NULL with the reason. */
struct http *http_start(const struct http_limits *limits, const struct route *routes, size_t count, struct error *why);

/* Takes no new request from now on and lets those in hand finish. Returns at once. */
void http_stop(struct http *http);

/* After http_stop: whether every request in hand is answered and no thread is left. */
bool http_is_idle(struct http *http);

/* Waits until every request in hand is answered, at most until the deadline; what then still stalls is cut. Returns
 * true when all threads have ended; false when some have not, and the process must exit without freeing anything. */
bool http_join(struct http *http, moment deadline);

/* After http_join returned true: hands over the idle kept connections, so that a program executed in this one's place
 * loses no request: makes them inheritable and names them in the environment. */
void http_hand_over(struct http *http);

/* After http_join returned true: closes idle connections and frees all. */
void http_free(struct http *http);

#endif
