/* An append to the queue in a thread of its own, since the engine `none` keeps it waiting. */
#ifndef TESTS_SUPPORT_APPENDER_H
#define TESTS_SUPPORT_APPENDER_H

#include <pthread.h>

#include "queue/queue.h"

struct appender {
    struct queue *queue;
    const char *source;
    const char *body;
    size_t length;
    int64_t patience_ms;
    pthread_t thread;
    enum queue_result result; /* once joined */
    struct error why;
    int64_t took_ms;
};

/* Starts it. body is borrowed until it is joined. Ends the program when there is no thread to be had. */
void appender_start(struct appender *appender, struct queue *queue, const char *source, const char *body, size_t length,
                    int64_t patience_ms);

/* Waits for its end and returns its result. */
enum queue_result appender_join(struct appender *appender);

#endif
