/* A web server's connection: gathers a request, lets its route's handler run, sends the answer. Nothing here blocks, so
 * that a peer which stalls has a descriptor and what it sent, and nothing else. */
#include "http/http_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcgiapp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_MS 500                          /* for the peer to read an answer sent before the end of its body */
#define END_WAIT_MS 100                        /* for the record that ends a body, once that has come */
#define DISCARD_MAX ((size_t)64 * 1024 * 1024) /* bytes of an unwanted body */

static bool is_busy(enum connection_state state)
{
    return state != CONNECTION_FRESH && state != CONNECTION_IDLE;
}

static void set_state(struct connection *connection, enum connection_state state, moment deadline)
{
    struct http *http = connection->http;
    http->busy -= is_busy(connection->state) ? 1 : 0;
    http->fresh -= connection->state == CONNECTION_FRESH ? 1 : 0;
    http->busy += is_busy(state) ? 1 : 0;
    http->fresh += state == CONNECTION_FRESH ? 1 : 0;
    connection->state = state;
    connection->deadline = deadline;
    worker_note_deadline(http, deadline);
}

static void unwatch(struct connection *connection)
{
    /* Before it is closed, too: a child that is being started may have it open for a moment longer. */
    if (connection->watched)
        epoll_ctl(connection->http->epoll, EPOLL_CTL_DEL, connection->fd, NULL);
    connection->watched = false;
}

void connection_close(struct connection *connection)
{
    struct http *http = connection->http;
    unwatch(connection);
    set_state(connection, CONNECTION_IDLE, MOMENT_NEVER);
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        http->first = connection->next;
    http->count--;
    request_end(&connection->request);
    incoming_free(&connection->incoming);
    buffer_free(&connection->outgoing.bytes);
    if (connection->fd >= 0)
        close(connection->fd);
    free(connection);
}

/* Has epoll watch the connection; closes it on failure. */
static void watch(struct connection *connection, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    int operation = connection->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (connection->watched && events == EPOLLIN)
        return;
    connection->watched = epoll_ctl(connection->http->epoll, operation, connection->fd, &event) == 0;
    if (connection->watched)
        return;
    log_write(LEVEL_WARN, "msg=connection_closed reason=\"epoll: %s\"", strerror(errno));
    connection_close(connection);
}

/* ---- the transport ---- */

static const char *fastcgi_variable(void *self, const char *name)
{
    struct connection *connection = self;
    return FCGX_GetParam(name, connection->incoming.variables);
}

static bool fastcgi_write(void *self, const char *data, size_t length)
{
    struct connection *connection = self;
    outgoing_put(&connection->outgoing, connection->incoming.id, data, length);
    return !connection->outgoing.bytes.failed;
}

static bool fastcgi_finish(void *self)
{
    struct connection *connection = self;
    outgoing_end(&connection->outgoing, connection->incoming.id);
    return !connection->outgoing.bytes.failed;
}

static void stand_aside(void *self)
{
    struct connection *connection = self;
    connection->away = true; /* nobody can wake it yet */
    worker_give_up_lead(connection->worker);
}

static void wait_for_wake(void *self, moment deadline, request_resume *resume, request_give_up *give_up, void *context)
{
    struct connection *connection = self;
    connection->resume = resume;
    connection->give_up = give_up;
    connection->context = context;
    connection->give_up_at = deadline;
    if (!connection->away)
        set_state(connection, CONNECTION_WAITING, deadline);
}

static void wake_up(void *self)
{
    worker_bring_back_woken(self);
}

/* Called when another body needs this one's memory, by the thread that leads, within the budget's lock. */
static void give_way(void *self)
{
    struct connection *connection = self;
    connection->given_way = true;
    worker_note_deadline(connection->http, 0);
}

static void begin_gathering(struct connection *connection)
{
    static const struct standing_aside aside = {stand_aside, wait_for_wake, wake_up};
    static const struct transport transport = {fastcgi_variable, NULL, fastcgi_write, fastcgi_finish, &aside};
    struct http *http = connection->http;
    moment now = clock_now();
    connection->request = (struct request){.transport = &transport,
                                           .self = connection,
                                           .limits = &http->limits,
                                           .budget = &http->budget,
                                           .started = now,
                                           .no_room = connection->refused,
                                           .share = {.interrupt = give_way, .self = connection}};
    connection->given_way = connection->judged = false;
    set_state(connection, CONNECTION_GATHERING, now + http->limits.request_timeout_ms);
}

/* ---- the answer ---- */

/* Frees what belongs to a request. */
static void clear_request(struct connection *connection)
{
    request_end(&connection->request);
    incoming_free(&connection->incoming);
    buffer_free(&connection->outgoing.bytes);
    connection->incoming = (struct incoming){.stage = STAGE_BEGIN};
    connection->outgoing = (struct outgoing){.sent = 0};
}

/* The answer is out. Closing a TCP socket with unread data makes the kernel reset it, and the answer could be lost: so
 * one whose peer may still be sending is closed when that has read it. */
static void end_exchange(struct connection *connection)
{
    const struct incoming *incoming = &connection->incoming;
    bool ended = incoming->stage == STAGE_WHOLE && !incoming->too_much;
    if (ended && incoming->keep && !connection->refused && !connection->outgoing.bytes.failed) {
        clear_request(connection);
        set_state(connection, CONNECTION_IDLE, MOMENT_NEVER);
        watch(connection, EPOLLIN);
    } else if (ended || shutdown(connection->fd, SHUT_WR) != 0) {
        connection_close(connection);
    } else {
        clear_request(connection);
        set_state(connection, CONNECTION_LINGERING, clock_now() + LINGER_MS);
        watch(connection, EPOLLIN);
    }
}

/* Sends what is left of the answer, as far as the peer takes it. */
static void flush(struct connection *connection)
{
    struct outgoing *outgoing = &connection->outgoing;
    size_t left = outgoing->bytes.length - outgoing->sent;
    if (outgoing->bytes.failed) {
        budget_log_memory(&connection->http->budget);
        headroom_refuse_request(connection->fd, connection->incoming.id);
        end_exchange(connection);
        return;
    }
    ssize_t n = send(connection->fd, outgoing->bytes.data + outgoing->sent, left, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        connection_close(connection);
        return;
    }
    outgoing->sent += n < 0 ? 0 : (size_t)n;
    if (n >= 0 && (size_t)n == left) {
        unwatch(connection);
        end_exchange(connection);
    } else {
        if (connection->state != CONNECTION_WRITING)
            set_state(connection, CONNECTION_WRITING, clock_now() + connection->http->limits.request_timeout_ms);
        watch(connection, EPOLLOUT);
    }
}

static void answer(struct connection *connection)
{
    request_end(&connection->request); /* its body's memory is for others while the answer goes out */
    flush(connection);
}

/* Runs the handler of a request that has come, or of what has come of it. */
static void serve(struct worker *worker, struct connection *connection)
{
    struct http *http = worker->http;
    unwatch(connection);
    connection->worker = worker;
    set_state(connection, CONNECTION_SERVED, MOMENT_NEVER);
    if (connection->refused)
        request_refuse(&connection->request, 503, "Retry-After: 30\r\n",
                       "too many requests at once: send it again later");
    else
        routes_serve(http->routes, http->routes_count, &connection->request);
    if (!worker->leads)
        worker_bring_back(connection);
    else if (connection->state != CONNECTION_WAITING)
        answer(connection);
}

void connection_back(struct worker *worker, struct connection *connection)
{
    bool was_away = connection->state == CONNECTION_SERVED, woken = was_away && worker_take_up(connection);
    connection->worker = worker;
    if (was_away && connection->request.waits && !woken) {
        set_state(connection, CONNECTION_WAITING, connection->give_up_at);
        return;
    }
    if (connection->request.waits) {
        connection->request.waits = false;
        connection->resume(connection->context, &connection->request);
    }
    answer(connection);
}

/* ---- gathering ---- */

/* Sends what the protocol requires at once. A peer that does not read so little is none. */
static void send_reply(struct connection *connection, struct buffer *reply)
{
    if (reply->length > 0 &&
        send(connection->fd, reply->data, reply->length, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)reply->length)
        log_write(LEVEL_WARN, "msg=connection_closed reason=\"a web server does not read what it asked for\"");
    buffer_free(reply);
}

static void refuse_memory(struct connection *connection)
{
    budget_log_memory(&connection->http->budget);
    headroom_refuse_request(connection->fd, connection->incoming.id);
    end_exchange(connection);
}

static void refuse_parameters(struct connection *connection)
{
    request_refuse(&connection->request, 431, NULL, "the request's headers are too large");
    answer(connection);
}

/* The peer has sent its last byte. */
static void ended(struct worker *worker, struct connection *connection)
{
    connection->request.broken = true;
    if (connection->state == CONNECTION_GATHERING && connection->incoming.stage == STAGE_BODY)
        serve(worker, connection);
    else
        connection_close(connection);
}

/* The body takes its time: where it would be refused anyway it shall have no memory meanwhile. */
static void judge_slow_body(struct connection *connection)
{
    const struct http_limits *limits = &connection->http->limits;
    struct request *request = &connection->request;
    connection->judged = true;
    if (limits->wants_body == NULL || !request_begin(request) || limits->wants_body(limits->of, request))
        return;
    request->no_room = true;
    request_free_body(request);
}

/* Not all that speak FastCGI send the record that ends a body. One that has come is not kept waiting for it. */
static void expect_end(struct connection *connection)
{
    moment soon = clock_now() + END_WAIT_MS;
    if (soon < connection->deadline)
        set_state(connection, CONNECTION_GATHERING, soon);
}

static void gather(struct worker *worker, struct connection *connection, size_t length)
{
    struct buffer reply = {0};
    struct incoming *incoming = &connection->incoming;
    if (!is_busy(connection->state))
        begin_gathering(connection);
    enum gathering result = incoming_take(incoming, &connection->request, worker->http->scratch, length, &reply);
    send_reply(connection, &reply);
    if (result == GATHERING_ON && incoming->stage == STAGE_BODY && body_is_there(&connection->request))
        expect_end(connection);
    else if (result == GATHERING_ON && incoming->stage == STAGE_BODY && !connection->judged)
        judge_slow_body(connection);
    if (result == GATHERING_BROKEN)
        connection_close(connection);
    else if (result == GATHERING_ENDED)
        end_exchange(connection);
    else if (result == GATHERING_TOO_LARGE)
        refuse_parameters(connection);
    else if (result == GATHERING_NO_MEMORY)
        refuse_memory(connection);
    else if (result == GATHERING_WHOLE || incoming->discarded > DISCARD_MAX)
        serve(worker, connection);
    else
        watch(connection, EPOLLIN);
}

static void receive(struct worker *worker, struct connection *connection)
{
    struct http *http = worker->http;
    ssize_t n = read(connection->fd, http->scratch, sizeof http->scratch);
    bool lingers = connection->state == CONNECTION_LINGERING;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        watch(connection, EPOLLIN);
    else if (n < 0 || (n == 0 && lingers))
        connection_close(connection);
    else if (n == 0)
        ended(worker, connection);
    else if (!lingers)
        gather(worker, connection, (size_t)n);
}

void connection_ready(struct worker *worker, struct connection *connection)
{
    if (connection->state == CONNECTION_WRITING)
        flush(connection);
    else
        receive(worker, connection);
}

/* Returns NULL, and the descriptor is closed, where memory is out. */
static struct connection *new_connection(struct http *http, int fd, enum connection_state state)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL || (http->headroom.watched && !headroom_is_sufficient(&http->headroom))) {
        budget_log_memory(&http->budget);
        headroom_refuse(fd);
        close(fd);
        free(connection);
        return NULL;
    }
    connection->http = http;
    connection->fd = fd;
    connection->state = CONNECTION_IDLE;
    connection->next = http->first;
    if (http->first != NULL)
        http->first->previous = connection;
    http->first = connection;
    http->count++;
    connection->request.budget = &http->budget;
    set_state(connection, state, MOMENT_NEVER);
    return connection;
}

void connection_open(struct worker *worker, int fd, bool refused)
{
    struct connection *connection = new_connection(worker->http, fd, CONNECTION_FRESH);
    if (connection == NULL)
        return;
    connection->refused = refused;
    receive(worker, connection);
}

void connection_adopt(struct http *http, int fd)
{
    struct connection *connection = new_connection(http, fd, CONNECTION_IDLE);
    if (connection != NULL)
        watch(connection, EPOLLIN);
}

void connection_late(struct worker *worker, struct connection *connection)
{
    if (connection->state == CONNECTION_WAITING) {
        connection->deadline = MOMENT_NEVER;
        connection->worker = worker;
        if (!connection->give_up(connection->context, &connection->request))
            return; /* it is coming back */
        connection->request.waits = false;
        answer(connection);
    } else {
        ended(worker, connection);
    }
}
