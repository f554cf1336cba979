/* A request thread: takes a connection, lets libfcgi read a request from it, and calls a route's handler.
 *
 * libfcgi neither accepts nor closes connections here, for reasons that only its source shows (fcgiapp.c, os_unix.c):
 * - Threads in its accept can only be stopped by signals, with a race.
 * - With FCGI_KEEP_CONN it blocks on a connection between requests, without a timeout: a web server that pools more
 *   connections than there are threads would hang. Here an idle connection waits in epoll.
 * - It has no timeouts: see below.
 * - When it closes, it waits for the peer, longer with each byte that arrives.
 * So FCGX_Accept_r gets a connection in FCGX_Request's members ipcFd and keepConnection, which are documented as
 * private; no others are used. Its listening socket is -1: after a connection without a valid request, FCGX_Accept_r
 * tries to accept another, fails, and returns. Before that it closes the connection, at an unknown time; so it gets a
 * duplicate of the descriptor, and the deadline thread never cuts a descriptor that was reused. */
#include "http/http_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcgiapp.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define END_WAIT_MS 1000  /* minimum for discarding the rest of an unwanted body */
#define CLOSE_WAIT_MS 500 /* for the peer to read an answer sent before the end of its body */
#define HEADROOM_PAUSE_MS 20
#define HEADROOM_TRIES 50
#define DISCARD_MAX ((size_t)64 * 1024 * 1024) /* bytes of an unwanted body */

/* A request on a connection. */
struct exchange {
    struct worker *worker;
    FCGX_Request *fcgi;
    int fd;
    moment deadline; /* for the request to arrive */
    bool answering;  /* the answer has begun */
};

static void watch_exchange(const struct exchange *exchange, enum waiting waiting, moment deadline)
{
    deadlines_watch(&exchange->worker->http->deadlines, exchange->worker->watched, waiting, exchange->fd, deadline);
}

static const char *fastcgi_variable(void *self, const char *name)
{
    const struct exchange *exchange = self;
    return FCGX_GetParam(name, exchange->fcgi->envp);
}

/* FCGX_GetStr returns fewer bytes than requested only at the stream's end or on an error. */
static enum arrival read_stream(FCGX_Stream *in, char *out, size_t size, size_t *got)
{
    int wanted = size > INT_MAX ? INT_MAX : (int)size;
    int n = FCGX_GetStr(out, wanted, in);
    *got = (size_t)n;
    if (n == wanted)
        return ARRIVED_SOME;
    return FCGX_GetError(in) == 0 ? ARRIVED_END : ARRIVED_BROKEN;
}

static enum arrival fastcgi_read(void *self, char *out, size_t size, size_t *got)
{
    const struct exchange *exchange = self;
    watch_exchange(exchange, WAITING_READ, exchange->deadline);
    enum arrival arrival = read_stream(exchange->fcgi->in, out, size, got);
    watch_exchange(exchange, NOT_WAITING, MOMENT_NEVER);
    return arrival;
}

/* Discards the rest of the body before answering. A web server may send the whole body before it reads any answer, and
 * turns our 413 into a 502 if it cannot; and on a kept connection the body's end must not be taken for the start of the
 * next request. */
static void discard_rest(const struct exchange *exchange)
{
    char scrap[4096];
    size_t got, total = 0;
    moment least = clock_now() + END_WAIT_MS;
    watch_exchange(exchange, WAITING_READ, exchange->deadline > least ? exchange->deadline : least);
    while (total < DISCARD_MAX && read_stream(exchange->fcgi->in, scrap, sizeof scrap, &got) == ARRIVED_SOME)
        total += got;
}

static bool body_has_ended(const struct exchange *exchange)
{
    return FCGX_HasSeenEOF(exchange->fcgi->in) != 0 && FCGX_GetError(exchange->fcgi->in) == 0;
}

/* Begins the answer: from now on the deadline is for the client to read, not to send. */
static void begin_answer(struct exchange *exchange)
{
    if (exchange->answering)
        return;
    exchange->answering = true;
    if (!body_has_ended(exchange))
        discard_rest(exchange);
    watch_exchange(exchange, WAITING_WRITE, clock_now() + exchange->worker->http->limits.request_timeout_ms);
}

static bool fastcgi_write(void *self, const char *data, size_t length)
{
    struct exchange *exchange = self;
    begin_answer(exchange);
    while (length > 0) {
        int piece = length > INT_MAX ? INT_MAX : (int)length;
        if (FCGX_PutStr(data, piece, exchange->fcgi->out) < 0)
            return false;
        data += piece;
        length -= (size_t)piece;
    }
    return true;
}

/* Most answers fit libfcgi's buffer and go out with their end in one write. */
static bool fastcgi_finish(void *self)
{
    struct exchange *exchange = self;
    begin_answer(exchange);
    FCGX_FClose(exchange->fcgi->err);
    FCGX_FClose(exchange->fcgi->out);
    watch_exchange(exchange, NOT_WAITING, MOMENT_NEVER);
    return FCGX_GetError(exchange->fcgi->out) == 0;
}

/* Closes a connection whose peer may still be sending: closing a TCP socket with unread data makes the kernel reset it,
 * and the answer could be lost. */
static void close_gently(int fd)
{
    char scrap[4096];
    moment deadline = clock_now() + CLOSE_WAIT_MS;
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    bool more = shutdown(fd, SHUT_WR) == 0;
    while (more && clock_until(deadline) > 0 && poll(&ready, 1, clock_until(deadline)) > 0)
        more = recv(fd, scrap, sizeof scrap, MSG_DONTWAIT) > 0;
    close(fd);
}

/* Called when another body needs this one's memory: the blocked read ends, and the request can still be answered. */
static void fastcgi_interrupt(void *self)
{
    const struct exchange *exchange = self;
    shutdown(exchange->fd, SHUT_RD);
}

static void answer_exchange(struct exchange *exchange, moment started)
{
    static const struct transport transport = {fastcgi_variable, fastcgi_read, fastcgi_write, fastcgi_finish,
                                               fastcgi_interrupt};
    struct http *http = exchange->worker->http;
    struct request request = {.transport = &transport,
                              .self = exchange,
                              .limits = &http->limits,
                              .budget = &http->budget,
                              .started = started};
    routes_serve(http->routes, http->routes_count, &request);
    request_end(&request);
}

/* Ends libfcgi's request and leaves the connection open. */
static void let_go(FCGX_Request *fcgi)
{
    FCGX_Free(fcgi, 0);
    close(fcgi->ipcFd);
    fcgi->ipcFd = -1;
}

/* Lets libfcgi read a request's parameters from a duplicate of the connection. libfcgi takes a connection that breaks
 * between two parameters for their end: only the stream's error shows that some are missing. */
static bool read_beginning(const struct exchange *exchange)
{
    FCGX_Request *fcgi = exchange->fcgi;
    fcgi->ipcFd = fcntl(exchange->fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (fcgi->ipcFd < 0) {
        log_write(LEVEL_ERROR, "msg=connection_closed reason=\"dup: %s\"", strerror(errno));
        return false;
    }
    fcgi->keepConnection = 1; /* or FCGX_Accept_r would close it as the last request's */
    FCGX_Detach(fcgi);        /* or it would wait for the peer when it closes */
    watch_exchange(exchange, WAITING_READ, exchange->deadline);
    int result = FCGX_Accept_r(fcgi);
    watch_exchange(exchange, NOT_WAITING, MOMENT_NEVER);
    if (result != 0)
        return false;
    if (FCGX_GetError(fcgi->in) == 0)
        return true;
    let_go(fcgi);
    return false;
}

/* Waits briefly for memory, as other requests end. */
static bool has_headroom(struct http *http)
{
    const struct timespec pause = {.tv_nsec = HEADROOM_PAUSE_MS * 1000000};
    for (int i = 0; i < HEADROOM_TRIES; i++) {
        if (headroom_is_sufficient(&http->headroom))
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

/* Answers 503 without libfcgi, which would end the process when out of memory. */
static void refuse_memory(struct http *http, int fd)
{
    budget_log_memory(&http->budget);
    headroom_refuse(fd);
    close_gently(fd);
}

/* Serves one request, then closes the connection or keeps it. */
static void serve(struct worker *worker, FCGX_Request *fcgi, int fd)
{
    moment started = clock_now();
    if (worker->http->limits.before != NULL)
        worker->http->limits.before(worker->http->limits.context);
    if (!has_headroom(worker->http)) {
        refuse_memory(worker->http, fd);
        return;
    }
    struct exchange exchange = {
        .worker = worker, .fcgi = fcgi, .fd = fd, .deadline = started + worker->http->limits.request_timeout_ms};
    if (!read_beginning(&exchange)) {
        close(fd);
        return;
    }
    answer_exchange(&exchange, started);
    bool ended = body_has_ended(&exchange);
    bool keep = fcgi->keepConnection && ended && FCGX_GetError(fcgi->out) == 0;
    let_go(fcgi);
    if (keep)
        idle_park(&worker->http->idle, fd, false);
    else if (ended)
        close(fd);
    else
        close_gently(fd);
}

void *worker_run(void *argument)
{
    struct worker *worker = argument;
    struct http *http = worker->http;
    FCGX_Request fcgi;
    FCGX_InitRequest(&fcgi, -1, 0);
    int fd;
    while ((fd = worker_next(http)) >= 0)
        serve(worker, &fcgi, fd);
    pthread_mutex_lock(&http->lock);
    worker->ended = true;
    if (--http->running == 0)
        pthread_cond_broadcast(&http->ended);
    pthread_mutex_unlock(&http->lock);
    return NULL;
}

/* ---- deadlines of connections ---- */

/* Cuts one connection, once, if its deadline has passed. Returns its deadline. */
static moment cut_if_late(struct watched *watched, moment now)
{
    moment deadline = MOMENT_NEVER;
    pthread_mutex_lock(&watched->lock);
    if (watched->waiting != NOT_WAITING && watched->deadline <= now) {
        shutdown(watched->fd, watched->waiting == WAITING_READ ? SHUT_RD : SHUT_RDWR);
        watched->waiting = NOT_WAITING;
    }
    if (watched->waiting != NOT_WAITING)
        deadline = watched->deadline;
    pthread_mutex_unlock(&watched->lock);
    return deadline;
}

/* Cuts all connections whose deadline has passed. Returns the earliest remaining deadline. */
static moment cut_late(struct deadlines *deadlines, moment now)
{
    moment earliest = MOMENT_NEVER;
    for (size_t i = 0; i < deadlines->count; i++) {
        moment deadline = cut_if_late(&deadlines->watched[i], now);
        if (deadline < earliest)
            earliest = deadline;
    }
    return earliest;
}

/* Sleeps until the moment, or until a thread registers an earlier deadline. With the lock held on entry and return. */
static void sleep_until(struct deadlines *deadlines, moment until)
{
    while (!deadlines->woken && !deadlines->ending) {
        if (!clock_condition_wait(&deadlines->wake, &deadlines->lock, until))
            return;
    }
}

/* While scanning, `planned` is "never", so that a thread that registers a deadline meanwhile wakes this one: none is
 * missed. */
static void *run_deadlines(void *argument)
{
    struct deadlines *deadlines = argument;
    pthread_mutex_lock(&deadlines->lock);
    while (!deadlines->ending) {
        deadlines->woken = false;
        atomic_store(&deadlines->planned, MOMENT_NEVER);
        pthread_mutex_unlock(&deadlines->lock);
        moment earliest = cut_late(deadlines, clock_now());
        pthread_mutex_lock(&deadlines->lock);
        atomic_store(&deadlines->planned, earliest);
        sleep_until(deadlines, earliest);
    }
    pthread_mutex_unlock(&deadlines->lock);
    return NULL;
}

static bool prepare_deadlines(struct deadlines *deadlines)
{
    return clock_condition_init(&deadlines->wake) && pthread_mutex_init(&deadlines->lock, NULL) == 0;
}

bool deadlines_start(struct deadlines *deadlines, struct watched *watched, size_t count, struct error *why)
{
    *deadlines = (struct deadlines){.watched = watched, .count = count, .planned = MOMENT_NEVER};
    pthread_attr_t small;
    if (!prepare_deadlines(deadlines) || pthread_attr_init(&small) != 0) {
        error_set(why, "out of memory");
        return false;
    }
    pthread_attr_setstacksize(&small, (size_t)64 * 1024);
    int error = pthread_create(&deadlines->thread, &small, run_deadlines, deadlines);
    pthread_attr_destroy(&small);
    if (error != 0)
        error_set(why, "no thread to watch over time-outs: %s", strerror(error));
    return error == 0;
}

static void wake_deadlines(struct deadlines *deadlines)
{
    pthread_mutex_lock(&deadlines->lock);
    deadlines->woken = true;
    pthread_cond_signal(&deadlines->wake);
    pthread_mutex_unlock(&deadlines->lock);
}

void deadlines_watch(struct deadlines *deadlines, struct watched *watched, enum waiting waiting, int fd,
                     moment deadline)
{
    pthread_mutex_lock(&watched->lock);
    watched->waiting = waiting;
    watched->fd = fd;
    watched->deadline = deadline;
    pthread_mutex_unlock(&watched->lock);
    if (waiting != NOT_WAITING && deadline < atomic_load(&deadlines->planned))
        wake_deadlines(deadlines);
}

void deadlines_cut(struct deadlines *deadlines)
{
    cut_late(deadlines, MOMENT_NEVER);
}

void deadlines_stop(struct deadlines *deadlines)
{
    pthread_mutex_lock(&deadlines->lock);
    deadlines->ending = true;
    pthread_cond_signal(&deadlines->wake);
    pthread_mutex_unlock(&deadlines->lock);
    pthread_join(deadlines->thread, NULL);
    pthread_cond_destroy(&deadlines->wake);
    pthread_mutex_destroy(&deadlines->lock);
}
