/* Verdicts that wait to be told to the queue: gathered over one turn of the forwarder and told at once, in one
 * transaction of a durable engine. They stay until the queue has taken them. */
#ifndef FORWARD_VERDICTS_H
#define FORWARD_VERDICTS_H

#include <stdbool.h>

#include "queue/queue.h"

/* All zero is empty. */
struct verdicts {
    struct verdict *at;
    size_t count;
    size_t capacity;
    char **reasons; /* what the verdicts' reasons point to */
    size_t reason_count;
    size_t reason_capacity;
};

/* Makes room for count more, so that verdicts_add cannot fail when it must not. Returns false when memory is out. */
bool verdicts_reserve(struct verdicts *verdicts, size_t count);

/* Keeps a copy of a reason for verdicts to point to, until they are told; NULL when memory is out: then they have no
 * reason. */
const char *verdicts_reason(struct verdicts *verdicts, const char *reason);

/* Adds one, for which there is room. */
void verdicts_add(struct verdicts *verdicts, const struct verdict *verdict);

/* Tells the queue. Returns true when nothing is left to tell; false with the reason when the queue failed. */
bool verdicts_tell(struct verdicts *verdicts, struct queue *queue, const char *source, struct error *why);

void verdicts_free(struct verdicts *verdicts);

#endif
