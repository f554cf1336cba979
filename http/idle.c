/* Idle connections: see worker.h. */
#include "http/worker.h"

#include "base/buffer.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HAND_OVER "CLOSECRM_KEPT_CONNECTIONS" /* descriptor numbers: "7,9" */

struct idle_connection {
    int fd;
    bool fresh;
    struct idle_connection *next;
    struct idle_connection *previous;
};

bool idle_init(struct idle *idle, int epoll)
{
    *idle = (struct idle){.epoll = epoll};
    return pthread_mutex_init(&idle->lock, NULL) == 0;
}

/* Adds it to the list. Returns whether it is to be watched. */
static bool insert_connection(struct idle *idle, struct idle_connection *connection)
{
    pthread_mutex_lock(&idle->lock);
    connection->next = idle->first;
    if (idle->first != NULL)
        idle->first->previous = connection;
    idle->first = connection;
    bool wanted = !idle->closed || connection->fresh; /* the thread checks once more before it ends */
    pthread_mutex_unlock(&idle->lock);
    return wanted;
}

static void detach(struct idle *idle, struct idle_connection *connection)
{
    pthread_mutex_lock(&idle->lock);
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        idle->first = connection->next;
    pthread_mutex_unlock(&idle->lock);
    if (connection->fresh)
        atomic_fetch_sub(&idle->fresh, 1);
}

bool idle_has_fresh(struct idle *idle)
{
    return atomic_load(&idle->fresh) > 0;
}

/* Watches the connection: from here on another thread may take it. */
static bool watch_connection(struct idle *idle, struct idle_connection *connection, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, .data.ptr = connection};
    return epoll_ctl(idle->epoll, operation, connection->fd, &event) == 0;
}

void idle_park(struct idle *idle, int fd, bool fresh)
{
    struct idle_connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        log_write(LEVEL_WARN, "msg=connection_closed reason=\"out of memory\"");
        close(fd);
        return;
    }
    connection->fd = fd;
    connection->fresh = fresh;
    if (fresh)
        atomic_fetch_add(&idle->fresh, 1);
    if (!insert_connection(idle, connection) || watch_connection(idle, connection, EPOLL_CTL_ADD))
        return;
    log_write(LEVEL_WARN, "msg=connection_closed reason=\"epoll: %s\"", strerror(errno));
    detach(idle, connection);
    free(connection);
    close(fd);
}

int idle_take(struct idle *idle, struct idle_connection *connection)
{
    int fd = connection->fd;
    epoll_ctl(idle->epoll, EPOLL_CTL_DEL, fd, NULL);
    detach(idle, connection);
    free(connection);
    return fd;
}

void idle_watch_again(struct idle *idle, struct idle_connection *connection)
{
    /* Another thread may take and free it at once, after this: epoll orders that in the kernel, and the lock does for
     * ThreadSanitizer, which does not know that EPOLL_CTL_MOD does. */
    pthread_mutex_lock(&idle->lock);
    watch_connection(idle, connection, EPOLL_CTL_MOD);
    pthread_mutex_unlock(&idle->lock);
}

void idle_stop(struct idle *idle)
{
    pthread_mutex_lock(&idle->lock);
    idle->closed = true;
    pthread_mutex_unlock(&idle->lock);
}

/* Removes the first connection from the list; -1: the list is empty. */
static int pop(struct idle *idle)
{
    struct idle_connection *connection = idle->first;
    return connection == NULL ? -1 : idle_take(idle, connection);
}

static bool set_inheritable(int fd, bool inheritable)
{
    int flags = fcntl(fd, F_GETFD);
    if (flags < 0)
        return false;
    return fcntl(fd, F_SETFD, inheritable ? flags & ~FD_CLOEXEC : flags | FD_CLOEXEC) == 0;
}

void idle_hand_over(struct idle *idle)
{
    struct buffer names = {0};
    int fd;
    while ((fd = pop(idle)) >= 0) {
        char name[16];
        snprintf(name, sizeof name, "%s%d", names.length == 0 ? "" : ",", fd);
        buffer_text(&names, name);
        if (names.failed || !set_inheritable(fd, true))
            close(fd);
    }
    names.failed = false;
    buffer_append(&names, "", 1);
    if (!names.failed && names.length > 1)
        setenv(HAND_OVER, names.data, 1);
    buffer_free(&names);
}

/* Whether a descriptor is a connected socket: the variable may be wrong or set by somebody else. */
static bool is_connection(int fd)
{
    int type = 0, listens = 0;
    socklen_t size = sizeof type;
    if (fd <= STDERR_FILENO || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM)
        return false;
    size = sizeof listens;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens == 0;
}

void idle_take_over(struct idle *idle)
{
    const char *names = getenv(HAND_OVER);
    for (const char *at = names; at != NULL && *at != '\0';) {
        char *end;
        errno = 0;
        long fd = strtol(at, &end, 10);
        if (end == at || errno != 0 || fd < 0 || fd > 0x7fffffff)
            break;
        if (is_connection((int)fd) && set_inheritable((int)fd, false))
            idle_park(idle, (int)fd, false);
        at = *end == ',' ? end + 1 : end;
    }
    unsetenv(HAND_OVER);
}

void idle_free(struct idle *idle)
{
    int fd;
    while ((fd = pop(idle)) >= 0)
        close(fd);
    pthread_mutex_destroy(&idle->lock);
}
