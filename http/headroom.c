/* Room in memory for libfcgi: see headroom.h. */
#include "http/headroom.h"

#include <fastcgi.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM ((size_t)4 * 1024 * 1024) /* a request's buffers and parameters, in each thread */
#define BEGIN_WAIT_MS 1000             /* for a request's first bytes */

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

/* The kernel promises no more memory than it has. */
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
    atomic_init(&headroom->watched, is_limited() || is_strict());
}

bool headroom_is_there(struct headroom *headroom)
{
    if (!atomic_load_explicit(&headroom->watched, memory_order_relaxed))
        return true;
    for (int tries = 0; tries < 2; tries++) {
        void *room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (room != MAP_FAILED) {
            munmap(room, ROOM);
            return true;
        }
        malloc_trim(0);
    }
    return false;
}

void headroom_was_missing(struct headroom *headroom)
{
    atomic_store_explicit(&headroom->watched, true, memory_order_relaxed);
}

#define WORDS "{\"error\": \"out of memory: send it again later\"}\n"
#define ANSWER                                                                                                         \
    "Status: 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 30\r\n"                         \
    "Cache-Control: no-store\r\n\r\n" WORDS

/* The records of the answer: STDOUT with its end, END_REQUEST. */
struct refusal_records {
    FCGI_Header head;
    char text[sizeof ANSWER - 1];
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
    memcpy(records.text, ANSWER, sizeof records.text);
    records.text_end = header_of(FCGI_STDOUT, &request, 0);
    records.end.header = header_of(FCGI_END_REQUEST, &request, sizeof records.end.body);
    records.end.body.protocolStatus = FCGI_REQUEST_COMPLETE;
    ssize_t n = send(fd, &records, sizeof records, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)n; /* who does not take it has gone */
}
