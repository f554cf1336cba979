/* Accepts connections: which peers may connect, what is done beyond the limits of descriptors and memory; and hands
 * kept connections over to the program executed next. */
#include "http/http_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
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

/* ---- connections for the program executed next ---- */

#define HAND_OVER "CLOSECRM_KEPT_CONNECTIONS" /* descriptor numbers: "7,9" */

/* Inherited descriptors block: a program of before lets libfcgi read them. */
static bool set_inheritable(int fd, bool inheritable)
{
    int flags = fcntl(fd, F_GETFD), status = fcntl(fd, F_GETFL);
    if (flags < 0 || status < 0)
        return false;
    return fcntl(fd, F_SETFD, inheritable ? flags & ~FD_CLOEXEC : flags | FD_CLOEXEC) == 0 &&
           fcntl(fd, F_SETFL, inheritable ? status & ~O_NONBLOCK : status | O_NONBLOCK) == 0;
}

void accept_hand_over(struct http *http)
{
    struct buffer names = {0};
    while (http->first != NULL) {
        struct connection *connection = http->first;
        char name[16];
        snprintf(name, sizeof name, "%s%d", names.length == 0 ? "" : ",", connection->fd);
        buffer_text(&names, name);
        if (!names.failed && set_inheritable(connection->fd, true))
            connection->fd = -1;
        connection_close(connection);
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

void accept_take_over(struct http *http)
{
    const char *names = getenv(HAND_OVER);
    for (const char *at = names; at != NULL && *at != '\0';) {
        char *end;
        errno = 0;
        long fd = strtol(at, &end, 10);
        if (end == at || errno != 0 || fd < 0 || fd > 0x7fffffff)
            break;
        if (is_connection((int)fd) && set_inheritable((int)fd, false))
            connection_adopt(http, (int)fd);
        at = *end == ',' ? end + 1 : end;
    }
    unsetenv(HAND_OVER);
}

/* ---- accepting ---- */

#define CONNECTIONS_MOST                                                                                               \
    20000 /* beyond, the answer is 503: a connection's memory is a few KB while its request is here */
#define DESCRIPTORS_SPARE 64 /* for the rest of the process, and for those that are refused */
#define FULL_WAIT_MS 100     /* before trying to accept again without a free descriptor */
#define FULL_LOG_EVERY_MS 10000

static int spare_descriptor(const struct http *http)
{
    return fcntl(http->wake, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

void accept_prepare(struct http *http)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    bool known = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > 2 * DESCRIPTORS_SPARE;
    http->most = known && limit.rlim_cur < CONNECTIONS_MOST + DESCRIPTORS_SPARE ? limit.rlim_cur - DESCRIPTORS_SPARE
                                                                                : CONNECTIONS_MOST;
    http->reserve = spare_descriptor(http);
}

void accept_log_full(struct http *http, const char *reason)
{
    moment now = clock_now();
    if (now - http->full_logged < FULL_LOG_EVERY_MS)
        return;
    http->full_logged = now;
    log_write(LEVEL_ERROR, "msg=accept_failed connections=%zu reason=\"%s\" advice=\"raise the limit of open files\"",
              http->count, reason);
}

void accept_refuse(int fd)
{
    headroom_refuse(fd);
    close(fd);
}

void accept_beyond(struct http *http, int error)
{
    int fd = -1;
    accept_log_full(http, strerror(error));
    if (http->reserve >= 0 && (error == EMFILE || error == ENFILE)) {
        close(http->reserve);
        fd = accept4(STDIN_FILENO, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            accept_refuse(fd);
        http->reserve = spare_descriptor(http);
    }
    if (fd >= 0)
        return;
    epoll_ctl(http->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    http->listen_again = clock_now() + FULL_WAIT_MS;
    worker_note_deadline(http, http->listen_again);
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

/* ---- memory ---- */

#define HEADROOM ((size_t)4 * 1024 * 1024) /* bytes of a request's buffers and parameters */

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
