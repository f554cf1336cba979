/* Where the request threads get their connections: from the listening socket, or from those that are kept. */
#include "http/worker.h"

#include "base/log.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define DATA_WAIT_MS 1   /* a web server writes at once after connecting */
#define LAST_WAIT_MS 100 /* after the stop: a busy machine may hold it up in between */
#define LAST_LOOK_MS 2
#define FULL_WAIT_MS 100 /* before trying to accept again without a free descriptor */
#define FULL_LOG_EVERY_MS 10000

/* Once the server has stopped this fails, and is meant to. */
bool worker_listen(struct http *http, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.ptr = http};
    return epoll_ctl(http->epoll, operation, STDIN_FILENO, &event) == 0;
}

static bool is_readable(int fd, int wait_ms)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    return poll(&ready, 1, wait_ms) > 0;
}

/* No descriptor or memory for a connection: says so, not too often, and waits a little, for it would fail again. */
static void pause_when_full(struct http *http, int error)
{
    moment now = clock_now();
    moment before = atomic_load(&http->full_logged);
    if (now - before >= FULL_LOG_EVERY_MS && atomic_compare_exchange_strong(&http->full_logged, &before, now))
        log_write(LEVEL_ERROR, "msg=accept_failed reason=\"%s\" advice=\"raise the limit of open files\"",
                  strerror(error));
    is_readable(http->stop, FULL_WAIT_MS);
}

/* Another thread, or another process, may have been faster: then there is none, and nothing is wrong. */
static int accept_one(struct http *http)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    int fd = accept4(STDIN_FILENO, (struct sockaddr *)&address, &size, SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_when_full(http, errno);
        return -1;
    }
    if (!http->is_tcp)
        return fd;
    if (!peers_allow(&http->peers, &address)) {
        close(fd);
        return -1;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    return fd;
}

/* Accepts a connection. One that stays silent waits where the kept ones do, and holds no thread. The listening socket
 * wakes one thread and then nobody until it is armed again: watched all the time, it would wake others in vain for each
 * connection (measured: half again as many context switches, a tenth fewer requests). */
static int accept_ready(struct http *http)
{
    int fd = accept_one(http);
    worker_listen(http, EPOLL_CTL_MOD);
    if (fd < 0 || is_readable(fd, DATA_WAIT_MS))
        return fd;
    bool stopped = atomic_load(&http->stopped_at) != MOMENT_NEVER;
    if (stopped && is_readable(fd, LAST_WAIT_MS)) /* parked now it would be closed */
        return fd;
    kept_park(&http->kept, fd, true);
    return -1;
}

/* The connection that an event is about, or -1. */
static int connection_of(struct http *http, const struct epoll_event *event)
{
    return event->data.ptr == http ? accept_ready(http) : kept_take(&http->kept, event->data.ptr);
}

/* The stop stays readable, so two events are asked for: it and one other. Should both be others, one is put back. */
static int ready_connection(struct http *http)
{
    struct epoll_event events[2];
    int count = epoll_wait(http->epoll, events, 2, 0);
    int fd = -1;
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == &http->stop || events[i].data.ptr == http)
            continue;
        if (fd < 0)
            fd = connection_of(http, &events[i]);
        else
            kept_watch_again(&http->kept, events[i].data.ptr);
    }
    return fd;
}

/* After the stop, connections that are kept and already have a request are still served, and so are those that were
 * made just before and are about to send one: closed, they would be reset with the request in them. */
static int last_connection(struct http *http)
{
    int fd = ready_connection(http);
    while (fd < 0 && kept_has_fresh(&http->kept) && clock_now() < atomic_load(&http->stopped_at) + LAST_WAIT_MS) {
        poll(NULL, 0, LAST_LOOK_MS);
        fd = ready_connection(http);
    }
    return fd;
}

int worker_next(struct http *http)
{
    for (;;) {
        struct epoll_event event;
        int count = epoll_wait(http->epoll, &event, 1, -1);
        if (count < 0 && errno != EINTR) {
            log_write(LEVEL_ERROR, "msg=thread_ended reason=\"epoll: %s\"", strerror(errno));
            return -1;
        }
        if (count < 1)
            continue;
        if (event.data.ptr == &http->stop)
            return last_connection(http);
        int fd = connection_of(http, &event);
        if (fd >= 0)
            return fd;
    }
}
