/* A data plane that does nothing but count, so that it never is what is slow: answers every POST with 200 and `OK`:
 *   sink PORT DELAY_MS EVENTS MESSAGE_BYTES
 * DELAY_MS passes before each answer. When EVENTS have come (0: never) it prints one line of counts and ends; at
 * SIGTERM too. Where all messages have the same length, a batch's count follows from the length that gzip's last four
 * bytes tell; with MESSAGE_BYTES 0 each batch is decompressed instead and its messages are counted by their ids: to
 * verify the other. Requests that are not compressed count as one event. One thread and epoll. */
#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/sample.h"

#define REQUEST_MOST ((size_t)8 * 1024 * 1024)
#define BATCH_MOST ((size_t)8 * 1024 * 1024)
#define EVENTS_AT_ONCE 64
#define DESCRIPTORS_MOST 1024
#define BATCH_FRAME 11 /* {"batch":[ ]}, and a comma less than messages */

struct connection {
    int fd;
    char *data;
    size_t got;
    size_t capacity;
    size_t head;   /* bytes of it, once they are known */
    size_t length; /* of the body */
    bool answering;
    int64_t due; /* ns; the answer's */
    struct connection *next;
};

struct sink {
    int epoll;
    int listening;
    int signals;
    int64_t delay; /* ns */
    uint64_t wanted;
    size_t message;
    unsigned char *room;                     /* for a batch, decompressed */
    struct connection *of[DESCRIPTORS_MOST]; /* connections, by their descriptors */
    struct connection *first;                /* answers that are due, in order: the delay is the same for all */
    struct connection **end;
    uint64_t requests;
    uint64_t events;
    uint64_t bytes;
    int64_t first_at; /* ns */
    int64_t last_at;
    bool done;
};

static void watch(const struct sink *sink, int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
    if (epoll_ctl(sink->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        bench_give_up("epoll");
}

static void listen_on(struct sink *sink, uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int on = 1;
    sink->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sink->listening < 0 || setsockopt(sink->listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(sink->listening, (struct sockaddr *)&address, sizeof address) != 0 || listen(sink->listening, 256) != 0)
        bench_give_up("cannot listen");
    watch(sink, sink->listening, &sink->listening);
}

static void accept_one(struct sink *sink)
{
    int on = 1;
    int fd = accept4(sink->listening, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (fd >= DESCRIPTORS_MOST) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    sink->of[fd] = bench_allocate(1, sizeof *sink->of[fd]);
    sink->of[fd]->fd = fd;
    watch(sink, fd, sink->of[fd]);
}

/* ---- counting ---- */

/* What a batch holds, decompressed, by the ids in it. */
static uint64_t count_ids(struct sink *sink, const unsigned char *body, size_t length)
{
    static const char id[] = "\"messageId\":\"";
    struct inflate_state state;
    uint64_t count = 0;
    isal_inflate_init(&state);
    state.next_in = (uint8_t *)(uintptr_t)body;
    state.avail_in = (uint32_t)length;
    state.next_out = sink->room;
    state.avail_out = (uint32_t)BATCH_MOST;
    state.crc_flag = IGZIP_GZIP;
    errno = 0;
    if (isal_inflate(&state) != ISAL_DECOMP_OK)
        bench_give_up("a batch cannot be decompressed");
    const unsigned char *end = sink->room + state.total_out;
    for (const unsigned char *at = sink->room; (at = memmem(at, (size_t)(end - at), id, sizeof id - 1)) != NULL;
         at += sizeof id)
        count++;
    return count;
}

static uint64_t count_events(struct sink *sink, const unsigned char *body, size_t length)
{
    if (length < 18 || body[0] != 0x1f || body[1] != 0x8b)
        return 1;
    if (sink->message == 0)
        return count_ids(sink, body, length);
    const unsigned char *tail = body + length - 4;
    size_t whole = (size_t)tail[0] | (size_t)tail[1] << 8 | (size_t)tail[2] << 16 | (size_t)tail[3] << 24;
    return (whole - BATCH_FRAME) / (sink->message + 1);
}

static void count(struct sink *sink, const struct connection *connection)
{
    if (sink->requests++ == 0)
        sink->first_at = bench_now();
    sink->bytes += connection->length;
    sink->events += count_events(sink, (const unsigned char *)connection->data + connection->head, connection->length);
}

/* ---- one connection ---- */

static void answer(struct sink *sink, struct connection *connection)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nOK";
    connection->answering = false;
    connection->got = connection->head = 0;
    sink->last_at = bench_now();
    if (send(connection->fd, text, sizeof text - 1, MSG_NOSIGNAL) < 0)
        errno = 0; /* its end is read later */
    if (sink->wanted > 0 && sink->events >= sink->wanted && sink->first == NULL)
        sink->done = true;
}

static void answer_later(struct sink *sink, struct connection *connection)
{
    connection->answering = true;
    connection->due = bench_now() + sink->delay;
    connection->next = NULL;
    *sink->end = connection;
    sink->end = &connection->next;
}

static void answer_due(struct sink *sink)
{
    while (sink->first != NULL && sink->first->due <= bench_now()) {
        struct connection *connection = sink->first;
        sink->first = connection->next;
        if (sink->first == NULL)
            sink->end = &sink->first;
        answer(sink, connection);
    }
}

static void drop(struct sink *sink, struct connection *connection)
{
    sink->of[connection->fd] = NULL;
    close(connection->fd);
    free(connection->data);
    free(connection);
}

static void read_head(struct connection *connection)
{
    const char *end = memmem(connection->data, connection->got, "\r\n\r\n", 4);
    if (end == NULL)
        return;
    connection->data[connection->got] = '\0';
    const char *length = strcasestr(connection->data, "\r\ncontent-length:");
    connection->head = (size_t)(end - connection->data) + 4;
    connection->length = length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0;
    errno = 0;
    if (connection->length > REQUEST_MOST)
        bench_give_up("a request is too large");
    if (strcasestr(connection->data, "\r\nexpect: 100") != NULL &&
        send(connection->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL) < 0)
        errno = 0;
}

static bool make_room(struct connection *connection)
{
    size_t needed = connection->head > 0 ? connection->head + connection->length : connection->got + 4096;
    if (needed < connection->capacity)
        return true;
    char *data = realloc(connection->data, needed + 4096);
    if (data == NULL)
        return false;
    connection->data = data;
    connection->capacity = needed + 4096;
    return true;
}

static void receive(struct sink *sink, struct connection *connection)
{
    if (!make_room(connection))
        bench_give_up("out of memory");
    ssize_t n = recv(connection->fd, connection->data + connection->got, connection->capacity - 1 - connection->got, 0);
    if (n <= 0 && connection->answering)
        bench_give_up("a connection ended before its answer");
    if (n <= 0) {
        drop(sink, connection);
        return;
    }
    connection->got += (size_t)n;
    if (connection->head == 0)
        read_head(connection);
    if (connection->head == 0 || connection->got < connection->head + connection->length)
        return;
    count(sink, connection);
    if (sink->delay > 0)
        answer_later(sink, connection);
    else
        answer(sink, connection);
}

/* ---- all of them ---- */

static int until_due(const struct sink *sink)
{
    if (sink->first == NULL)
        return -1;
    int64_t left = sink->first->due - bench_now();
    return left <= 0 ? 0 : (int)((left + 999999) / 1000000);
}

static void run(struct sink *sink)
{
    struct epoll_event ready[EVENTS_AT_ONCE];
    while (!sink->done) {
        int count = epoll_wait(sink->epoll, ready, EVENTS_AT_ONCE, until_due(sink));
        for (int i = 0; i < count; i++) {
            if (ready[i].data.ptr == &sink->signals)
                return;
            if (ready[i].data.ptr == &sink->listening)
                accept_one(sink);
            else
                receive(sink, ready[i].data.ptr);
        }
        answer_due(sink);
    }
}

int main(int argc, char **argv)
{
    sigset_t stop;
    if (argc != 5) {
        fprintf(stderr, "usage: sink PORT DELAY_MS EVENTS MESSAGE_BYTES\n");
        return 2;
    }
    struct sink sink = {.delay = strtoll(argv[2], NULL, 10) * 1000000,
                        .wanted = strtoull(argv[3], NULL, 10),
                        .message = strtoul(argv[4], NULL, 10)};
    sink.end = &sink.first;
    sink.room = bench_allocate(1, BATCH_MOST);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    sink.epoll = epoll_create1(EPOLL_CLOEXEC);
    sink.signals = signalfd(-1, &stop, SFD_CLOEXEC);
    if (sink.epoll < 0 || sink.signals < 0)
        bench_give_up("cannot start");
    watch(&sink, sink.signals, &sink.signals);
    listen_on(&sink, (uint16_t)strtoul(argv[1], NULL, 10));
    run(&sink);
    double seconds = (double)(sink.last_at - sink.first_at) / 1e9;
    printf("requests=%llu events=%llu bytes=%llu seconds=%.3f rate=%.0f\n", (unsigned long long)sink.requests,
           (unsigned long long)sink.events, (unsigned long long)sink.bytes, seconds,
           seconds > 0 ? (double)sink.events / seconds : 0.0);
    for (size_t i = 0; i < DESCRIPTORS_MOST; i++) {
        if (sink.of[i] != NULL)
            drop(&sink, sink.of[i]);
    }
    free(sink.room);
    close(sink.signals);
    close(sink.listening);
    close(sink.epoll);
    return 0;
}
