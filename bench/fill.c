/* Makes a backlog: appends events to the queue of a configuration (CLOSECRM_CONFIG), in many threads, so that groups
 * form as they do behind a web server:
 *   fill COUNT THREADS RUN
 * It owns the reading meanwhile, so that its log is checkpointed, unless another one does, and forwards nothing. Prints
 * one line: the events, how many a second, and the length of the message that each will be. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "bench/sample.h"
#include "config/config.h"
#include "queue/queue.h"
#include "transform/transform.h"

#define APPEND_MS 10000
#define LOOK_MS 20

struct fill {
    struct queue *queue;
    const char *source;
    struct sample sample;
    uint32_t run;
    uint64_t count;
    _Atomic uint64_t next;
    _Atomic uint64_t done;
};

static void *append(void *context)
{
    struct fill *fill = context;
    struct error why = {0};
    char *body = bench_allocate(1, fill->sample.length);
    memcpy(body, fill->sample.body, fill->sample.length);
    for (uint64_t n; (n = atomic_fetch_add(&fill->next, 1)) < fill->count; atomic_fetch_add(&fill->done, 1)) {
        sample_number(&fill->sample, body, fill->run, n);
        errno = 0;
        if (queue_append(fill->queue, fill->source, body, fill->sample.length, clock_now() + APPEND_MS, &why) !=
            QUEUE_STORED)
            bench_give_up(why.text);
    }
    free(body);
    return NULL;
}

static size_t message_length(const struct sample *sample)
{
    static const struct rules none = {0};
    struct buffer message = {0};
    struct error why = {0};
    struct parsed *parsed = transform_parse(sample->body, sample->length, NULL, &why);
    errno = 0;
    if (parsed == NULL || transform_message(parsed, &none, false, &message) != TRANSFORM_OK)
        bench_give_up(why.text);
    size_t length = message.length;
    parsed_free(parsed);
    buffer_free(&message);
    return length;
}

/* What the forwarder does when it is woken, but for the forwarding. */
static void own_until_done(struct fill *fill)
{
    struct pollfd wake = {.fd = queue_wake_fd(fill->queue), .events = POLLIN};
    while (atomic_load(&fill->done) < fill->count) {
        poll(&wake, 1, LOOK_MS);
        queue_clear_wakeup(fill->queue);
    }
}

int main(int argc, char **argv)
{
    struct error why = {0};
    if (argc != 4) {
        fprintf(stderr, "usage: fill COUNT THREADS RUN\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    log_open(LEVEL_WARN);
    struct config *config = config_load(&why);
    struct fill fill = {.count = strtoull(argv[1], NULL, 10), .run = (uint32_t)strtoul(argv[3], NULL, 10)};
    size_t threads = strtoul(argv[2], NULL, 10);
    pthread_t *thread = bench_allocate(threads, sizeof *thread);
    if (config != NULL)
        fill.queue = queue_open(config, &why);
    errno = 0;
    if (fill.queue == NULL || (!queue_claim(fill.queue, &why) && why.kind != ERROR_BUSY))
        bench_give_up(why.text);
    fill.source = config->source[0].name;
    sample_read(&fill.sample, SAMPLE_PATH);
    size_t message = message_length(&fill.sample);

    int64_t start = bench_now();
    for (size_t i = 0; i < threads; i++) {
        errno = pthread_create(&thread[i], NULL, append, &fill);
        if (errno != 0)
            bench_give_up("cannot start a thread");
    }
    own_until_done(&fill);
    for (size_t i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    double seconds = (double)(bench_now() - start) / 1e9;
    printf("events=%llu seconds=%.3f rate=%.0f message_bytes=%zu\n", (unsigned long long)fill.count, seconds,
           (double)fill.count / seconds, message);
    queue_close(fill.queue);
    config_free(config);
    sample_free(&fill.sample);
    free(thread);
    return 0;
}
