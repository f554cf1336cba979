/* Sends distinct, signed webhooks over kept connections, each its next one as soon as the last is answered:
 *   load PORT PATH KEY_HEX CONNECTIONS WARM_SECONDS SECONDS RUN
 * One thread and epoll. Each connection has a request of its own in which only the id, the lead and the signature are
 * written anew, and signatures are made beforehand, so that sending costs little beside what is measured. Prints one
 * line: answers in the measured time, a second of it, percentiles of the time from sending to the whole answer. */
#include "bench/sample.h"
#include "commands/delivery.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_A_SECOND 60000 /* signed beforehand */
#define HASH_DIGITS (DELIVERY_HASH_SIZE - 1)
#define ANSWER_MOST 4096
#define EVENTS_AT_ONCE 64
#define SILENCE_MS 20000 /* without any answer: something is broken */

struct connection {
    int fd;
    char *request;
    int64_t sent_at;
    size_t got; /* of the answer */
    char answer[ANSWER_MOST + 1];
};

struct load {
    struct sockaddr_in address;
    struct sample sample;
    uint32_t run;
    size_t head; /* bytes of a request before its body */
    size_t hash; /* where the signature stands in it */
    char (*hashes)[HASH_DIGITS];
    uint64_t signed_events;
    uint64_t next;
    int epoll;
    int64_t measure_from; /* ns */
    int64_t measure_until;
    uint32_t *took; /* microseconds, of each answer in the measured time */
    size_t answers;
    size_t failures; /* answers other than 200 */
    int status;      /* of the last of those */
    size_t live;
};

static void open_connection(struct load *load, struct connection *connection)
{
    int on = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&load->address, sizeof load->address) != 0 ||
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        epoll_ctl(load->epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
        bench_give_up("cannot connect");
}

/* Sends the next event; once the time is over, closes. */
static void send_next(struct load *load, struct connection *connection)
{
    int64_t now = bench_now();
    if (now >= load->measure_until || load->next == load->signed_events) {
        close(connection->fd);
        load->live--;
        return;
    }
    uint64_t number = load->next++;
    memcpy(connection->request + load->hash, load->hashes[number], HASH_DIGITS);
    sample_number(&load->sample, connection->request + load->head, load->run, number);
    connection->got = 0;
    connection->sent_at = now;
    size_t length = load->head + load->sample.length;
    /* Blocks never: a request is far smaller than a socket's buffer, and the last one was answered. */
    if (send(connection->fd, connection->request, length, MSG_NOSIGNAL) != (ssize_t)length)
        bench_give_up("cannot send");
}

/* Whether the answer is whole. */
static bool is_whole(const struct connection *connection)
{
    const char *end = strstr(connection->answer, "\r\n\r\n");
    if (end == NULL)
        return false;
    const char *length = strcasestr(connection->answer, "\r\ncontent-length:");
    size_t body = (size_t)(connection->answer + connection->got - (end + 4));
    if (length != NULL && length < end)
        return body >= strtoul(length + 17, NULL, 10);
    return strstr(end, "\r\n0\r\n\r\n") != NULL; /* in chunks */
}

static void take_answer(struct load *load, struct connection *connection)
{
    int64_t now = bench_now();
    int status = connection->got > 12 ? (int)strtol(connection->answer + 9, NULL, 10) : 0;
    if (status != 200) {
        load->failures++;
        load->status = status;
    } else if (now >= load->measure_from && now < load->measure_until) {
        load->took[load->answers++] = (uint32_t)((now - connection->sent_at) / 1000);
    }
}

static void receive(struct load *load, struct connection *connection)
{
    ssize_t n = recv(connection->fd, connection->answer + connection->got, ANSWER_MOST - connection->got, 0);
    errno = n == 0 ? 0 : errno;
    if (n <= 0)
        bench_give_up("a connection broke before its answer");
    connection->got += (size_t)n;
    connection->answer[connection->got] = '\0';
    if (!is_whole(connection))
        return;
    take_answer(load, connection);
    if (strcasestr(connection->answer, "\r\nconnection: close") != NULL) { /* lighttpd: after 1,000 requests */
        close(connection->fd);
        open_connection(load, connection);
    }
    send_next(load, connection);
}

static void sign_all(struct load *load, const struct signature_key *key, const char *timestamp)
{
    char hex[DELIVERY_HASH_SIZE];
    load->hashes = bench_allocate(load->signed_events, sizeof *load->hashes);
    load->took = bench_allocate(load->signed_events, sizeof *load->took);
    for (uint64_t i = 0; i < load->signed_events; i++) {
        sample_number(&load->sample, load->sample.body, load->run, i);
        delivery_sign(key, timestamp, load->sample.body, load->sample.length, hex);
        memcpy(load->hashes[i], hex, HASH_DIGITS);
    }
}

static char *make_request(struct load *load, const char *path, const char *timestamp)
{
    char head[1024];
    int length = snprintf(head, sizeof head,
                          "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\nclose-sig-timestamp: %s\r\nclose-sig-hash: %0*d\r\n\r\n",
                          path, load->sample.length, timestamp, HASH_DIGITS, 0);
    load->head = (size_t)length;
    load->hash = load->head - 4 - HASH_DIGITS;
    char *request = bench_allocate(1, load->head + load->sample.length);
    memcpy(request, head, load->head);
    memcpy(request + load->head, load->sample.body, load->sample.length);
    return request;
}

static void run(struct load *load)
{
    struct epoll_event ready[EVENTS_AT_ONCE];
    while (load->live > 0) {
        int count = epoll_wait(load->epoll, ready, EVENTS_AT_ONCE, SILENCE_MS);
        errno = count == 0 ? ETIMEDOUT : errno;
        if (count <= 0)
            bench_give_up("no answers");
        for (int i = 0; i < count; i++)
            receive(load, ready[i].data.ptr);
    }
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The time within which so many hundredths of the answers came. */
static double percentile_ms(const struct load *load, size_t percent)
{
    size_t beyond = load->answers * (100 - percent) / 100;
    return load->took[load->answers - 1 - (beyond < load->answers ? beyond : load->answers - 1)] / 1e3;
}

static void report(struct load *load, double seconds)
{
    errno = 0;
    if (load->answers == 0)
        bench_give_up("no answer 200 in the measured time");
    if (load->next == load->signed_events) /* it went faster than was signed for */
        seconds = (double)(bench_now() - load->measure_from) / 1e9;
    qsort(load->took, load->answers, sizeof *load->took, compare);
    printf("answers=%zu failures=%zu last_failure=%d rate=%.0f p50_ms=%.3f p99_ms=%.3f most_ms=%.3f\n", load->answers,
           load->failures, load->status, (double)load->answers / seconds, percentile_ms(load, 50),
           percentile_ms(load, 99), percentile_ms(load, 100));
}

static void read_key(const char *hex, unsigned char bytes[32])
{
    for (size_t i = 0; i < 32; i++) {
        char digits[] = {hex[2 * i], hex[2 * i + 1], '\0'};
        bytes[i] = (unsigned char)strtoul(digits, NULL, 16);
    }
}

int main(int argc, char **argv)
{
    if (argc != 8 || strlen(argv[3]) != 64) {
        fprintf(stderr, "usage: load PORT PATH KEY_HEX CONNECTIONS WARM_SECONDS SECONDS RUN\n");
        return 2;
    }
    unsigned char bytes[32];
    struct signature_key key = {bytes, sizeof bytes};
    struct load load = {.address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
    char timestamp[24];
    size_t connections = strtoul(argv[4], NULL, 10);
    double warm = strtod(argv[5], NULL), seconds = strtod(argv[6], NULL);
    read_key(argv[3], bytes);
    load.address.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    load.run = (uint32_t)strtoul(argv[7], NULL, 10);
    load.signed_events = (uint64_t)((warm + seconds) * EVENTS_A_SECOND);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    snprintf(timestamp, sizeof timestamp, "%lld", (long long)time(NULL));
    sample_read(&load.sample, SAMPLE_PATH);
    sign_all(&load, &key, timestamp);

    struct connection *all = bench_allocate(connections, sizeof *all);
    for (size_t i = 0; i < connections; i++) {
        all[i].request = make_request(&load, argv[2], timestamp);
        open_connection(&load, &all[i]);
    }
    load.live = connections;
    load.measure_from = bench_now() + (int64_t)(warm * 1e9);
    load.measure_until = load.measure_from + (int64_t)(seconds * 1e9);
    for (size_t i = 0; i < connections; i++)
        send_next(&load, &all[i]);
    run(&load);
    report(&load, seconds);
    for (size_t i = 0; i < connections; i++)
        free(all[i].request);
    free(all);
    free(load.hashes);
    free(load.took);
    sample_free(&load.sample);
    close(load.epoll);
    return load.failures == 0 ? 0 : 1;
}
