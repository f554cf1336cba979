/* The CGI transport: variables from the environment, the body from stdin, the answer to stdout. SIGPIPE must be
 * ignored: a client that is gone shows as EPIPE. */
#include "http/http_private.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define DISCARD_MAX ((size_t)64 * 1024 * 1024) /* bytes of an unwanted body */
#define DISCARD_MS 1000

struct cgi {
    moment deadline; /* for the body to arrive */
    size_t consumed; /* bytes of the body consumed */
    bool ended;      /* the body ended or broke off */
};

bool http_is_cgi(void)
{
    const char *gateway = getenv("GATEWAY_INTERFACE");
    return gateway != NULL && *gateway != '\0';
}

static const char *cgi_variable(void *self, const char *name)
{
    (void)self;
    return getenv(name);
}

/* Waits until the descriptor is ready or the deadline has passed. */
static bool wait_for(int fd, short events, moment deadline)
{
    struct pollfd ready = {.fd = fd, .events = events};
    int n;
    do {
        n = poll(&ready, 1, clock_until(deadline));
    } while (n < 0 && errno == EINTR);
    return n > 0;
}

static enum arrival cgi_read(void *self, char *out, size_t size, size_t *got)
{
    struct cgi *cgi = self;
    *got = 0;
    cgi->ended = true;
    for (;;) {
        if (clock_until(cgi->deadline) == 0 || !wait_for(STDIN_FILENO, POLLIN, cgi->deadline))
            return ARRIVED_BROKEN;
        ssize_t n = read(STDIN_FILENO, out, size);
        if (n > 0) {
            *got = (size_t)n;
            cgi->consumed += (size_t)n;
            cgi->ended = false;
            return ARRIVED_SOME;
        }
        if (n == 0)
            return ARRIVED_END;
        if (errno != EINTR && errno != EAGAIN)
            return ARRIVED_BROKEN;
    }
}

static bool cgi_write(void *self, const char *data, size_t length)
{
    (void)self;
    while (length > 0) {
        ssize_t n = write(STDOUT_FILENO, data, length);
        if (n < 0) {
            if (errno == EINTR || (errno == EAGAIN && wait_for(STDOUT_FILENO, POLLOUT, MOMENT_NEVER)))
                continue;
            return false;
        }
        data += n;
        length -= (size_t)n;
    }
    return true;
}

static bool cgi_finish(void *self)
{
    (void)self;
    return true;
}

/* Returns how many bytes of the body may be read: at most CONTENT_LENGTH (RFC 3875). */
static size_t most_to_consume(void)
{
    const char *announced = getenv("CONTENT_LENGTH");
    size_t most = announced == NULL || *announced == '\0' ? DISCARD_MAX : strtoul(announced, NULL, 10);
    return most < DISCARD_MAX ? most : DISCARD_MAX;
}

/* Discards the rest of the body before the process ends. mod_cgid passes the body through a socket: if that is closed
 * with unread bytes, the kernel resets it and the answer is lost. Not inline: it is rarely called, and its room is on
 * the stack. */
static __attribute__((noinline)) void discard_rest(struct cgi *cgi, size_t most)
{
    char scrap[16384];
    cgi->deadline = clock_now() + DISCARD_MS;
    while (!cgi->ended && cgi->consumed < most) {
        size_t got, left = most - cgi->consumed;
        cgi_read(cgi, scrap, left < sizeof scrap ? left : sizeof scrap, &got);
    }
}

void http_serve_cgi(const struct http_limits *limits, const struct route *routes, size_t count)
{
    static const struct transport transport = {cgi_variable, cgi_read, cgi_write, cgi_finish, NULL};
    struct body_budget budget;
    budget_init(&budget, limits->max_bodies);
    moment started = clock_now();
    struct cgi cgi = {.deadline = started + limits->request_timeout_ms};
    struct request request = {
        .transport = &transport, .self = &cgi, .limits = limits, .budget = &budget, .started = started};
    routes_serve(routes, count, &request);
    request_end(&request);
    budget_free(&budget);
    size_t most = most_to_consume();
    if (!cgi.ended && cgi.consumed < most)
        discard_rest(&cgi, most);
}
