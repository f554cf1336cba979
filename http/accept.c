/* Supplies connections to the request threads: from the listening socket, or idle ones with a new request. Also: which
 * peers may connect, and the check for memory. */
#include "http/http_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fastcgi.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/log.h"

/* ---- idle connections ---- */

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

/* Whether there are fresh connections, whose first request may be on its way. */
static bool idle_has_fresh(struct idle *idle)
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

/* Returns ownership of a readable connection to the caller. Only one caller may do so for each epoll event. */
static int idle_take(struct idle *idle, struct idle_connection *connection)
{
    int fd = connection->fd;
    epoll_ctl(idle->epoll, EPOLL_CTL_DEL, fd, NULL);
    detach(idle, connection);
    free(connection);
    return fd;
}

/* Re-arms epoll for a connection that became readable. */
static void idle_watch_again(struct idle *idle, struct idle_connection *connection)
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

/* ---- accepting ---- */

#define DATA_WAIT_MS 1   /* a web server writes at once after connecting */
#define LAST_WAIT_MS 100 /* after the stop: on a busy machine a request may arrive this late */
#define LAST_LOOK_MS 2
#define ARM_WAIT_MS 5    /* without memory for it */
#define FULL_WAIT_MS 100 /* before trying to accept again without a free descriptor */
#define FULL_LOG_EVERY_MS 10000

/* Fails after the server has stopped, as intended. */
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

/* Out of descriptors or memory for a connection: logs it, rate-limited, and pauses, since the next accept would fail
 * too. */
static void pause_when_full(struct http *http, int error)
{
    moment now = clock_now();
    moment before = atomic_load(&http->full_logged);
    if (now - before >= FULL_LOG_EVERY_MS && atomic_compare_exchange_strong(&http->full_logged, &before, now))
        log_write(LEVEL_ERROR, "msg=accept_failed reason=\"%s\" advice=\"raise the limit of open files\"",
                  strerror(error));
    is_readable(http->stop, FULL_WAIT_MS);
}

/* Accepts a connection. Another thread or process may have taken it: returns -1, which is no error. */
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

/* Accepts a connection; a silent one joins the idle ones, so that it occupies no thread. The listening socket is armed
 * for one wakeup at a time: watched permanently, it would wake other threads in vain for each connection (measured: 50%
 * more context switches, 10% fewer requests). */
static int accept_ready(struct http *http)
{
    int fd = accept_one(http);
    while (!worker_listen(http, EPOLL_CTL_MOD) && (errno == ENOMEM || errno == ENOSPC))
        is_readable(http->stop, ARM_WAIT_MS); /* else no connection would ever be accepted again */
    if (fd < 0 || is_readable(fd, DATA_WAIT_MS))
        return fd;
    bool stopped = atomic_load(&http->stopped_at) != MOMENT_NEVER;
    if (stopped && is_readable(fd, LAST_WAIT_MS)) /* after the stop, parking would close it */
        return fd;
    idle_park(&http->idle, fd, true);
    return -1;
}

/* Returns the connection of an epoll event, or -1. */
static int connection_of(struct http *http, const struct epoll_event *event)
{
    return event->data.ptr == http ? accept_ready(http) : idle_take(&http->idle, event->data.ptr);
}

/* Waits for an event. The stop event stays readable, so two events are requested: the stop and one other. If both are
 * others, one is re-armed. */
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
            idle_watch_again(&http->idle, events[i].data.ptr);
    }
    return fd;
}

/* After the stop, idle connections with a pending request are still served, and so are fresh ones that are about to
 * send one: closing them would reset them with the request inside. */
static int last_connection(struct http *http)
{
    int fd = ready_connection(http);
    while (fd < 0 && idle_has_fresh(&http->idle) && clock_now() < atomic_load(&http->stopped_at) + LAST_WAIT_MS) {
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

/* ---- which peers may connect (FCGI_WEB_SERVER_ADDRS) ---- */

static void map_ipv4(const struct in_addr *from, struct in6_addr *to)
{
    memset(to, 0, sizeof *to);
    to->s6_addr[10] = 0xff;
    to->s6_addr[11] = 0xff;
    memcpy(to->s6_addr + 12, from, sizeof *from);
}

static bool parse_address(const char *text, size_t length, struct in6_addr *out)
{
    char address[INET6_ADDRSTRLEN];
    if (length >= sizeof address)
        return false;
    memcpy(address, text, length);
    address[length] = '\0';
    struct in_addr ipv4;
    if (inet_pton(AF_INET, address, &ipv4) == 1) {
        map_ipv4(&ipv4, out);
        return true;
    }
    return inet_pton(AF_INET6, address, out) == 1;
}

static bool add_peer(struct peers *peers, const char *text, size_t length, struct error *why)
{
    struct in6_addr *at = realloc(peers->at, (peers->count + 1) * sizeof *at);
    if (at == NULL) {
        error_set(why, "out of memory");
        return false;
    }
    peers->at = at;
    if (!parse_address(text, length, &at[peers->count])) {
        error_set(why, "FCGI_WEB_SERVER_ADDRS: \"%.*s\" is no IP address; write them separated by commas",
                  (int)(length > 100 ? 100 : length), text);
        return false;
    }
    peers->count++;
    return true;
}

bool peers_init(struct peers *peers, const char *list, struct error *why)
{
    static const char separators[] = ", \t";
    *peers = (struct peers){0};
    for (const char *at = list == NULL ? "" : list; *(at += strspn(at, separators)) != '\0';) {
        size_t length = strcspn(at, separators);
        if (!add_peer(peers, at, length, why)) {
            peers_free(peers);
            return false;
        }
        at += length;
    }
    return true;
}

bool peers_allow(const struct peers *peers, const struct sockaddr_storage *address)
{
    if (peers->count == 0)
        return true;
    struct in6_addr peer;
    if (address->ss_family == AF_INET)
        map_ipv4(&((const struct sockaddr_in *)address)->sin_addr, &peer);
    else if (address->ss_family == AF_INET6)
        peer = ((const struct sockaddr_in6 *)address)->sin6_addr;
    else
        return true;
    for (size_t i = 0; i < peers->count; i++) {
        if (memcmp(&peers->at[i], &peer, sizeof peer) == 0)
            return true;
    }
    return false;
}

void peers_free(struct peers *peers)
{
    free(peers->at);
    *peers = (struct peers){0};
}

/* ---- memory for libfcgi ---- */

#define HEADROOM ((size_t)4 * 1024 * 1024) /* bytes of a request's buffers and parameters, per thread */
#define BEGIN_WAIT_MS 1000                 /* for a request's first bytes */

static bool is_limited(void)
{
    static const int limits[] = {RLIMIT_AS, RLIMIT_DATA};
    struct rlimit limit;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        if (getrlimit((__rlimit_resource_t)limits[i], &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
            return true;
    }
    return false;
}

/* Whether the kernel refuses to overcommit memory. */
static bool is_strict(void)
{
    char mode = '0';
    int fd = open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool strict = read(fd, &mode, 1) == 1 && mode == '2';
    close(fd);
    return strict;
}

void headroom_init(struct headroom *headroom)
{
    headroom->watched = is_limited() || is_strict();
}

bool headroom_is_sufficient(const struct headroom *headroom)
{
    if (!headroom->watched)
        return true;
    for (int tries = 0; tries < 2; tries++) {
        void *room = mmap(NULL, HEADROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (room != MAP_FAILED) {
            munmap(room, HEADROOM);
            return true;
        }
        malloc_trim(0);
    }
    return false;
}

#define HEADROOM_WORDS "{\"error\": \"out of memory: send it again later\"}\n"
#define HEADROOM_ANSWER                                                                                                \
    "Status: 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 30\r\n"                         \
    "Cache-Control: no-store\r\n\r\n" HEADROOM_WORDS

/* The records of the answer: STDOUT, its end, END_REQUEST. */
struct refusal_records {
    FCGI_Header head;
    char text[sizeof HEADROOM_ANSWER - 1];
    FCGI_Header text_end;
    FCGI_EndRequestRecord end;
};

static FCGI_Header header_of(int type, const FCGI_Header *request, size_t length)
{
    return (FCGI_Header){.version = FCGI_VERSION_1,
                         .type = (unsigned char)type,
                         .requestIdB1 = request->requestIdB1,
                         .requestIdB0 = request->requestIdB0,
                         .contentLengthB1 = (unsigned char)(length >> 8),
                         .contentLengthB0 = (unsigned char)(length & 0xff)};
}

void headroom_refuse(int fd)
{
    FCGI_Header request;
    struct refusal_records records = {.text = ""};
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (poll(&ready, 1, BEGIN_WAIT_MS) <= 0 ||
        recv(fd, &request, sizeof request, MSG_DONTWAIT) != (ssize_t)sizeof request ||
        request.version != FCGI_VERSION_1 || request.type != FCGI_BEGIN_REQUEST)
        return;
    records.head = header_of(FCGI_STDOUT, &request, sizeof records.text);
    memcpy(records.text, HEADROOM_ANSWER, sizeof records.text);
    records.text_end = header_of(FCGI_STDOUT, &request, 0);
    records.end.header = header_of(FCGI_END_REQUEST, &request, sizeof records.end.body);
    records.end.body.protocolStatus = FCGI_REQUEST_COMPLETE;
    ssize_t n = send(fd, &records, sizeof records, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)n; /* a client that does not read it is gone */
}
