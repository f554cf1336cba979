/* Clients that are never done: each has a FastCGI request of its own at the program's socket, whose body comes a byte a
 * second:
 *   crowd SOCKET CONNECTIONS
 * Prints a line once all of them are there. Who is cut off comes again. Ends at SIGTERM, and prints how often that
 * was. */
#include "bench/sample.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BODY 60000 /* bytes that are said to come, in one record */
#define TICKS 1000 /* a second, in each of which a share of them sends */

enum { VERSION = 1, BEGIN_REQUEST = 1, PARAMS = 4, STDIN = 5, RESPONDER = 1 };

struct crowd {
    struct sockaddr_un address;
    char request[2048]; /* up to the first byte of its body */
    size_t length;
    int *fd;
    size_t count, again;
};

static volatile sig_atomic_t stopped;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

static void put(struct crowd *crowd, const void *bytes, size_t length)
{
    if (crowd->length + length > sizeof crowd->request)
        bench_give_up("the request is too long");
    memcpy(crowd->request + crowd->length, bytes, length);
    crowd->length += length;
}

static void put_head(struct crowd *crowd, int type, size_t length)
{
    const unsigned char head[8] = {VERSION, (unsigned char)type,          0,
                                   1,       (unsigned char)(length >> 8), (unsigned char)length};
    put(crowd, head, sizeof head);
}

static void put_variable(struct crowd *crowd, const char *name, const char *value)
{
    const unsigned char lengths[2] = {(unsigned char)strlen(name), (unsigned char)strlen(value)};
    put_head(crowd, PARAMS, sizeof lengths + lengths[0] + lengths[1]);
    put(crowd, lengths, sizeof lengths);
    put(crowd, name, lengths[0]);
    put(crowd, value, lengths[1]);
}

/* As Close would send it, as far as can be seen before the body is here. */
static void make_request(struct crowd *crowd)
{
    const unsigned char begin[8] = {0, RESPONDER};
    char stamp[32], length[32], hash[65];
    snprintf(stamp, sizeof stamp, "%lld", (long long)time(NULL));
    snprintf(length, sizeof length, "%d", BODY);
    memset(hash, 'a', 64);
    hash[64] = '\0';
    crowd->length = 0;
    put_head(crowd, BEGIN_REQUEST, sizeof begin);
    put(crowd, begin, sizeof begin);
    put_variable(crowd, "REQUEST_METHOD", "POST");
    put_variable(crowd, "SCRIPT_NAME", "/closecrm");
    put_variable(crowd, "CONTENT_TYPE", "application/json");
    put_variable(crowd, "CONTENT_LENGTH", length);
    put_variable(crowd, "HTTP_CLOSE_SIG_TIMESTAMP", stamp);
    put_variable(crowd, "HTTP_CLOSE_SIG_HASH", hash);
    put_head(crowd, PARAMS, 0);
    put_head(crowd, STDIN, BODY);
}

static int open_one(struct crowd *crowd)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&crowd->address, sizeof crowd->address) != 0)
        bench_give_up("cannot connect");
    if (send(fd, crowd->request, crowd->length, MSG_NOSIGNAL) != (ssize_t)crowd->length)
        bench_give_up("cannot send");
    return fd;
}

static void send_byte(struct crowd *crowd, size_t i)
{
    if (send(crowd->fd[i], " ", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1)
        return;
    close(crowd->fd[i]);
    make_request(crowd);
    crowd->fd[i] = open_one(crowd);
    crowd->again++;
}

static void raise_limit(size_t connections)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < connections + 16)
        bench_give_up("the limit of open files is too low for that many connections");
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    struct crowd crowd = {.address.sun_family = AF_UNIX};
    const struct sigaction ends = {.sa_handler = stop};
    if (argc != 3) {
        fprintf(stderr, "usage: crowd SOCKET CONNECTIONS\n");
        return 2;
    }
    strncpy(crowd.address.sun_path, argv[1], sizeof crowd.address.sun_path - 1);
    crowd.count = strtoul(argv[2], NULL, 10);
    sigaction(SIGTERM, &ends, NULL);
    raise_limit(crowd.count);
    make_request(&crowd);
    crowd.fd = bench_allocate(crowd.count, sizeof *crowd.fd);
    for (size_t i = 0; i < crowd.count; i++)
        crowd.fd[i] = open_one(&crowd);
    printf("connections=%zu\n", crowd.count);
    fflush(stdout);
    int64_t began = bench_now();
    for (int64_t tick = 0; stopped == 0; tick++) {
        const struct timespec pause = {.tv_nsec = 1000000000 / TICKS};
        size_t part = (size_t)(tick % TICKS);
        for (size_t i = part * crowd.count / TICKS; i < (part + 1) * crowd.count / TICKS; i++)
            send_byte(&crowd, i);
        while (stopped == 0 && bench_now() < began + (tick + 1) * (1000000000 / TICKS))
            nanosleep(&pause, NULL);
    }
    printf("again=%zu\n", crowd.again);
    free(crowd.fd);
    return 0;
}
