/* The HTTP server: FastCGI connections or a single CGI request, and the routes. Only http/ uses libfcgi. */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"

/* ---- request.c: An HTTP request, from FastCGI or CGI alike. Belongs to the thread that serves it, and to none while
 * it waits. ---- */

struct request;

enum body_result {
    BODY_OK,
    BODY_EMPTY,
    BODY_SHORT,     /* ended before its announced length, or the client stalled: answer 400 */
    BODY_TOO_LARGE, /* larger than the limit: answer 413 */
    BODY_NO_ROOM,   /* no memory left for bodies: answer 503 */
};

/* Returns a CGI variable ("REQUEST_METHOD"); NULL when absent or empty. Valid as long as the request. */
const char *request_variable(const struct request *request, const char *name);

/* Returns a request header by its variable's name without HTTP_ ("CLOSE_SIG_HASH"); NULL when absent or empty. */
const char *request_header(const struct request *request, const char *name);

/* Returns the path after the program's own; "" or beginning with a slash. */
const char *request_path(const struct request *request);

/* Copies the percent-decoded value of a query parameter, NUL-terminated. Returns false, and out is "", when it is
 * absent, does not fit or contains a NUL. */
bool request_query(const struct request *request, const char *name, char *out, size_t size);

/* Copies the user name of HTTP Basic authentication, NUL-terminated. Returns false, and out is "", when there is none.
 */
bool request_basic_user(const struct request *request, char *out, size_t size);

/* Copies the user name and the password of HTTP Basic authentication, NUL-terminated. Returns false, and both are "",
 * when there is none, or one of them does not fit. */
bool request_basic(const struct request *request, char *user, size_t user_size, char *password, size_t password_size);

/* Copies the value of a form field (application/x-www-form-urlencoded), decoded as by request_query. */
bool request_field(const char *form, size_t length, const char *name, char *out, size_t size);

/* When the request began; its deadlines count from here. */
moment request_started(const struct request *request);

/* Reads the whole body, with or without an announced length, within the request's timeout. Call once. The bytes are
 * valid as long as the request. Unless BODY_OK, why says what to tell the client. */
enum body_result request_body(struct request *request, const char **body, size_t *length, struct error *why);

/* Frees the body before the request ends: call it before an answer, so that a client that retries at once finds memory.
 * The bytes of request_body are invalid afterwards. */
void request_free_body(struct request *request);

/* Frees the body, too, but its memory is counted until the request ends: for who has handed a copy of it to somebody
 * with whom the request waits. */
void request_leave_body(struct request *request);

/* Answers, once: status with its standard reason phrase, extra header lines ("Allow: POST\r\n"; NULL: none), a
 * text/plain body. Returns false when the client is gone. */
bool request_answer(struct request *request, int status, const char *headers, const char *text);

/* Answers, once, with bytes of any Content-Type. headers and result as in request_answer. */
bool request_send(struct request *request, int status, const char *headers, const char *type, const char *data,
                  size_t length);

/* Answers, once, with {"error": "..."} as application/json. text is UTF-8. */
bool request_refuse(struct request *request, int status, const char *headers, const char *text);

/* ---- handlers that wait: a few threads serve all requests, so none of them should wait for a disk or a peer ---- */

/* Says that the handler is about to wait for something, or to work for long: other threads take over meanwhile what
 * this one does for other requests. Call it before the first wait. */
void request_blocks(struct request *request);

/* Answers a request that waited: what it waited for is there. By a request thread. It must not wait. */
typedef void request_resume(void *context, struct request *request);

/* Answers a request that has waited until its deadline, or the stop's, and returns true: request_wake must not be
 * called any more. Or returns false without an answer: it has been called, or is just being called. By a request
 * thread. */
typedef bool request_give_up(void *context, struct request *request);

/* Whether the handler may return without an answer (request_wait). Never under CGI. */
bool request_may_wait(const struct request *request);

/* The handler is going to return without an answer: resume answers after request_wake, which may have been called
 * already, or give_up when the deadline has passed. The request stays until then. */
void request_wait(struct request *request, moment deadline, request_resume *resume, request_give_up *give_up,
                  void *context);

/* What the request waits for is there. Any thread, once. */
void request_wake(struct request *request);

/* ---- serving ---- */

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
    size_t threads;             /* that read requests and run handlers */
    void (*before)(
        void *context); /* called by request threads before they read a request; NULL: nothing. Not with CGI */
    void *context;
    bool (*wants_body)(void *of, struct request *request); /* whether a body that takes its time is worth its memory;
                                                              else it is discarded as it comes. By request threads, once
                                                              variables and path are known. It must not wait. NULL: all
                                                              are */
    void *of;
    size_t more_spare; /* threads that the process starts besides those that are known here */
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

/* Waits until every request in progress is answered; shortly before the deadline cuts what still stalls, and has given
 * up what requests wait for (request_give_up). Returns
 * true when all threads have ended; on false the process must exit without freeing anything. */
bool http_join(struct http *http, moment deadline);

/* After http_join returned true: makes idle connections inheritable and names them in the environment, so that the
 * program that this process executes next loses no request. */
void http_hand_over(struct http *http);

/* After http_join returned true: closes idle connections and frees everything. */
void http_free(struct http *http);

#endif
