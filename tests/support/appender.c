/* Appends in threads: see appender.h. */
#include "tests/support/appender.h"

#include <stdlib.h>

static void *append(void *context)
{
    struct appender *a = context;
    moment start = clock_now();
    a->result = queue_append(a->queue, a->source, a->body, a->length, start + a->patience_ms, &a->why);
    a->took_ms = clock_now() - start;
    return NULL;
}

void appender_start(struct appender *appender, struct queue *queue, const char *source, const char *body, size_t length,
                    int64_t patience_ms)
{
    *appender =
        (struct appender){.queue = queue, .source = source, .body = body, .length = length, .patience_ms = patience_ms};
    if (pthread_create(&appender->thread, NULL, append, appender) != 0)
        abort();
}

enum queue_result appender_join(struct appender *appender)
{
    pthread_join(appender->thread, NULL);
    return appender->result;
}
