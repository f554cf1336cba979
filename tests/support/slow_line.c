/* See slow_line.h. */
#include "tests/support/slow_line.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/client.h"
#include "tests/support/process.h"
#include "tests/support/slice.h"

#define TURN_MS 10

/* Passes on what has come, at most so many bytes. Returns how many, -1 at the end. */
static ssize_t pass(int from, int to, size_t most)
{
    char bytes[65536];
    ssize_t n = read(from, bytes, most < sizeof bytes ? most : sizeof bytes);
    if (n <= 0 || !raw_write(to, (struct slice){bytes, (size_t)n}))
        return -1;
    return n;
}

/* Until one side has closed it. */
static void serve(struct slow_line *line, int client, int server)
{
    moment before = clock_now();
    size_t may = 0;
    bool on = true;
    while (on && !atomic_load(&line->ends)) {
        moment now = clock_now();
        size_t most = atomic_load(&line->rate) / 10; /* what was not used in time is gone */
        may += atomic_load(&line->rate) * (size_t)(now - before) / 1000;
        may = may < most ? may : most;
        before = now;
        struct pollfd ends[] = {{.fd = server, .events = POLLIN}, {.fd = may > 0 ? client : -1, .events = POLLIN}};
        if (poll(ends, 2, TURN_MS) <= 0)
            continue;
        if (ends[0].revents != 0)
            on = pass(server, client, SIZE_MAX) > 0;
        ssize_t n = on && ends[1].revents != 0 ? pass(client, server, may) : 0;
        on = on && n >= 0;
        may -= n > 0 ? (size_t)n : 0;
    }
}

static void *run(void *context)
{
    struct slow_line *line = context;
    while (!atomic_load(&line->ends)) {
        struct pollfd comes = {.fd = line->listens, .events = POLLIN};
        int client = poll(&comes, 1, TURN_MS) > 0 ? accept(line->listens, NULL, NULL) : -1;
        int server = client >= 0 ? connect_socket(line->to) : -1;
        if (server >= 0) {
            serve(line, client, server);
            close(server);
        }
        if (client >= 0)
            close(client);
    }
    return NULL;
}

bool slow_line_start(struct slow_line *line, const char *path, const char *to, size_t rate)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    line->to = to;
    atomic_init(&line->rate, rate);
    atomic_init(&line->ends, false);
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    line->listens = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return length < (int)sizeof address.sun_path && line->listens >= 0 &&
           bind(line->listens, (const struct sockaddr *)&address, sizeof address) == 0 &&
           listen(line->listens, 16) == 0 && pthread_create(&line->thread, NULL, run, line) == 0;
}

void slow_line_stop(struct slow_line *line)
{
    atomic_store(&line->ends, true);
    pthread_join(line->thread, NULL);
    close(line->listens);
}
