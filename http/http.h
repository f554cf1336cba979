/* The HTTP server: FastCGI threads or a single CGI request, and the routes. Only http/ uses libfcgi. */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "http/request.h"

struct http;

/* A handler for a path. The first matching route is used; routes are borrowed and must outlive the server. */
struct route {
    const char *path; /* exact ("/v1/webhook"; "" for no path), or "/" + "*" for one source name */
    void (*handle)(void *context, struct request *request);
    void *context;
    bool exact; /* a trailing slash does not match: a web server may protect only the exact path */
};

struct http_limits {
    size_t max_body;            /* bytes of one body */
    size_t max_bodies;          /* bytes of all bodies in memory together */
    int64_t request_timeout_ms; /* for a complete request to arrive */
    size_t threads;
};

/* Whether descriptor 0 is a listening socket, so the program was started as a FastCGI server. */
bool http_is_fastcgi(void);

/* Whether the environment is that of a CGI request. */
bool http_is_cgi(void);

/* Serves the single CGI request of this process over stdin and stdout; returns when it is answered. SIGPIPE must be
 * ignored. */
void http_serve_cgi(const struct http_limits *limits, const struct route *routes, size_t count);

/* Starts threads that accept requests from descriptor 0, which becomes non-blocking; all signals are blocked in them.
 * SIGPIPE must be ignored. Adopts the idle connections of a predecessor's http_hand_over. If the system allows fewer
 * threads, continues with those (at least one) and logs their number. Returns NULL with the reason. */
struct http *http_start(const struct http_limits *limits, const struct route *routes, size_t count, struct error *why);

/* Stops accepting requests; those in progress are finished. Returns at once. */
void http_stop(struct http *http);

/* After http_stop: whether every request is answered and all threads have ended. */
bool http_is_idle(struct http *http);

/* Waits until every request in progress is answered, at most until the deadline; then cuts what still stalls. Returns
 * true when all threads have ended; on false the process must exit without freeing anything. */
bool http_join(struct http *http, moment deadline);

/* After http_join returned true: makes idle connections inheritable and names them in the environment, so that the
 * program that this process executes next loses no request. */
void http_hand_over(struct http *http);

/* After http_join returned true: closes idle connections and frees everything. */
void http_free(struct http *http);

#endif
