/* A request thread. One of them leads: it waits in epoll, reads what has come, and runs handlers itself, so that a
 * request that waits for nothing costs no switch between threads. Before a handler waits for something its thread gives
 * up the lead to another one (request_blocks). What a handler has to wait for longer, a commit above all, comes back to
 * whoever leads then, by request_wake: no thread waits for it.
 *
 * epoll is level-triggered: of what was reported, whoever loses the lead may leave the rest to the next. */
#include "http/http_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 64
#define SWEEP_AGAIN_MS 20 /* between two looks at all deadlines */
#define WAIT_AGAIN_MS 10  /* after a wait that failed */
#define WAIT_LOG_EVERY_MS 60000
#define LAST_WAIT_MS 100 /* after the stop: on a busy machine a request may arrive this late */

/* ---- the lead ---- */

/* Waits until it leads. Returns false when the server has stopped. */
static bool take_lead(struct worker *worker)
{
    struct http *http = worker->http;
    pthread_mutex_lock(&http->lock);
    while (http->led && !http->over)
        pthread_cond_wait(&http->leaderless, &http->lock);
    worker->leads = !http->over;
    http->led = true;
    pthread_mutex_unlock(&http->lock);
    return worker->leads;
}

void worker_give_up_lead(struct worker *worker)
{
    struct http *http = worker->http;
    if (!worker->leads)
        return;
    worker->leads = false;
    pthread_mutex_lock(&http->lock);
    http->led = false;
    pthread_cond_signal(&http->leaderless);
    pthread_mutex_unlock(&http->lock);
}

static void end_serving(struct http *http)
{
    pthread_mutex_lock(&http->lock);
    http->over = true;
    pthread_cond_broadcast(&http->leaderless);
    pthread_mutex_unlock(&http->lock);
}

/* ---- what comes back to the leader ---- */

void worker_wake(struct http *http)
{
    const uint64_t one = 1;
    while (write(http->wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* With the lock held. Returns whether the leader is to be woken. */
static bool list_back(struct connection *connection)
{
    struct http *http = connection->http;
    bool sleeps = http->sleeps;
    connection->next_back = NULL;
    *http->back_end = connection;
    http->back_end = &connection->next_back;
    http->sleeps = false;
    return sleeps;
}

void worker_bring_back(struct connection *connection)
{
    struct http *http = connection->http;
    pthread_mutex_lock(&http->back_lock);
    bool sleeps = list_back(connection);
    pthread_mutex_unlock(&http->back_lock);
    if (sleeps)
        worker_wake(http);
}

void worker_bring_back_woken(struct connection *connection)
{
    struct http *http = connection->http;
    pthread_mutex_lock(&http->back_lock);
    connection->woken = connection->away;
    bool sleeps = !connection->away && list_back(connection);
    pthread_mutex_unlock(&http->back_lock);
    if (sleeps)
        worker_wake(http);
}

bool worker_take_up(struct connection *connection)
{
    struct http *http = connection->http;
    pthread_mutex_lock(&http->back_lock);
    bool woken = connection->woken;
    connection->away = connection->woken = false;
    pthread_mutex_unlock(&http->back_lock);
    return woken;
}

/* Takes the list of those that came back. NULL: none, and whoever comes back from now on wakes the leader (sleeps). */
static struct connection *take_back(struct http *http, bool sleeps)
{
    pthread_mutex_lock(&http->back_lock);
    struct connection *first = http->back;
    http->back = NULL;
    http->back_end = &http->back;
    http->sleeps = sleeps && first == NULL;
    pthread_mutex_unlock(&http->back_lock);
    return first;
}

static void serve_back(struct worker *worker, struct connection *first)
{
    struct connection *next;
    for (struct connection *connection = first; connection != NULL; connection = next) {
        next = connection->next_back;
        connection_back(worker, connection);
    }
}

/* ---- deadlines ---- */

void worker_note_deadline(struct http *http, moment deadline)
{
    if (deadline < http->earliest)
        http->earliest = deadline;
}

static bool is_late(const struct connection *connection, moment now, bool cut)
{
    bool cuttable = connection->state == CONNECTION_GATHERING || connection->state == CONNECTION_WRITING ||
                    connection->state == CONNECTION_LINGERING || connection->state == CONNECTION_WAITING;
    return connection->deadline <= now || (connection->given_way && connection->state == CONNECTION_GATHERING) ||
           (cut && cuttable);
}

/* Looks at all deadlines. Whoever loses the lead meanwhile leaves the rest to the next. */
static void sweep(struct worker *worker, moment now, bool cut)
{
    struct http *http = worker->http;
    struct connection *next;
    moment earliest = MOMENT_NEVER;
    http->swept = now;
    for (struct connection *connection = http->first; connection != NULL; connection = next) {
        next = connection->next;
        if (is_late(connection, now, cut)) {
            http->earliest = 0; /* for who may lead then */
            connection_late(worker, connection);
            if (!worker->leads)
                return;
            earliest = now; /* it may have a new one */
        } else if (connection->deadline < earliest) {
            earliest = connection->deadline;
        }
    }
    http->earliest = earliest;
}

static void look_at_deadlines(struct worker *worker)
{
    struct http *http = worker->http;
    moment now = clock_now();
    bool cut = atomic_exchange(&http->cut, false);
    if (now >= http->listen_again && atomic_load(&http->stopped_at) == MOMENT_NEVER)
        worker_listen(http);
    if (cut || (now >= http->earliest && (http->earliest == 0 || now - http->swept >= SWEEP_AGAIN_MS)))
        sweep(worker, now, cut);
    worker_note_deadline(http, http->listen_again);
}

/* ---- accepting ---- */

#define ACCEPTED_AT_ONCE 32 /* then what has come on other connections is looked at */
#define REFUSED_AT_ONCE 32  /* connections beyond the limit, whose requests are read to their end and refused */

bool worker_listen(struct http *http)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = http};
    http->listen_again = MOMENT_NEVER;
    return epoll_ctl(http->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) == 0 || errno == EEXIST;
}

/* Accepts a connection. Another process may have taken it: returns -1, which is no error. */
static int accept_one(struct http *http)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    int fd = accept4(STDIN_FILENO, (struct sockaddr *)&address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            accept_beyond(http, errno);
        return -1;
    }
    if (!http->is_tcp)
        return fd;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    if (peers_allow(&http->peers, &address))
        return fd;
    close(fd);
    return -1;
}

static void accept_ready(struct worker *worker)
{
    struct http *http = worker->http;
    for (int i = 0; i < ACCEPTED_AT_ONCE && worker->leads; i++) {
        int fd = accept_one(http);
        if (fd < 0)
            return;
        if (http->count >= http->most)
            accept_log_full(http, "too many connections");
        if (http->count < http->most + REFUSED_AT_ONCE)
            connection_open(worker, fd, http->count >= http->most);
        else
            accept_refuse(fd);
    }
}

/* ---- serving ---- */

/* How long epoll may wait, in milliseconds; -1: for ever. */
static int patience(const struct http *http)
{
    moment stopped = atomic_load(&http->stopped_at), until = http->earliest;
    if (stopped != MOMENT_NEVER && http->busy == 0 && http->fresh == 0)
        return 0;
    if (until != MOMENT_NEVER && until < http->swept + SWEEP_AGAIN_MS && until > 0)
        until = http->swept + SWEEP_AGAIN_MS;
    if (stopped != MOMENT_NEVER && http->busy == 0 && stopped + LAST_WAIT_MS < until)
        until = stopped + LAST_WAIT_MS;
    return clock_until(until);
}

static void clear_wake(const struct http *http)
{
    uint64_t count;
    ssize_t n = read(http->wake, &count, sizeof count);
    (void)n;
}

static void serve_event(struct worker *worker, void *of)
{
    struct http *http = worker->http;
    if (of == http)
        accept_ready(worker);
    else if (of == &http->wake)
        clear_wake(http);
    else
        connection_ready(worker, of);
}

/* After the stop, idle connections with a pending request are still served, and so are fresh ones that are about to
 * send one: closing them would reset them with the request inside. */
static bool is_over(const struct http *http, int events)
{
    moment stopped = atomic_load(&http->stopped_at);
    return stopped != MOMENT_NEVER && events == 0 && http->busy == 0 &&
           (http->fresh == 0 || clock_now() >= stopped + LAST_WAIT_MS);
}

/* Who ends here would leave connections that nobody answers. */
static void bear_failed_wait(struct http *http, const char *reason)
{
    moment now = clock_now();
    if (now - http->wait_logged >= WAIT_LOG_EVERY_MS) {
        log_write(LEVEL_ERROR, "msg=wait_failed reason=\"epoll: %s; it is tried again\"", reason);
        http->wait_logged = now;
    }
    poll(NULL, 0, WAIT_AGAIN_MS);
}

/* Waits for what comes next, and serves it. Returns false when the server has stopped. */
static bool serve_next(struct worker *worker)
{
    struct http *http = worker->http;
    struct epoll_event events[EVENTS_AT_ONCE];
    struct connection *back = take_back(http, true);
    int count = epoll_wait(http->epoll, events, EVENTS_AT_ONCE, back == NULL ? patience(http) : 0);
    if (count < 0 && errno != EINTR)
        bear_failed_wait(http, strerror(errno));
    if (http->limits.before != NULL)
        http->limits.before(http->limits.context);
    serve_back(worker, back);
    for (int i = 0; i < count && worker->leads; i++)
        serve_event(worker, events[i].data.ptr);
    if (worker->leads)
        look_at_deadlines(worker);
    return !worker->leads || back != NULL || !is_over(http, count);
}

void *worker_run(void *argument)
{
    struct worker *worker = argument;
    struct http *http = worker->http;
    bool on = true;
    while (on && take_lead(worker)) {
        while (on && worker->leads)
            on = serve_next(worker);
    }
    if (!on)
        end_serving(http);
    pthread_mutex_lock(&http->lock);
    worker->ended = true;
    if (--http->running == 0)
        pthread_cond_broadcast(&http->ended);
    pthread_mutex_unlock(&http->lock);
    return NULL;
}
