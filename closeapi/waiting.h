/* The identities of events that wait in the queue: a hash table of bounded size. Events beyond it are appended again,
 * which does no harm: the forwarder finds duplicates. One thread for one struct waiting. */
#ifndef CLOSEAPI_WAITING_H
#define CLOSEAPI_WAITING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "queue/queue.h"
#include "transform/transform.h"

/* All zero can be freed. */
struct waiting {
    struct waiting_place *places;
    size_t used;
    uint64_t last_id;     /* of the event up to which the queue was read */
    struct events events; /* what was read last */
};

/* Returns false when memory is out. */
bool waiting_init(struct waiting *waiting);
void waiting_free(struct waiting *waiting);

/* Adds what was appended to the queue since the last call. Returns false with the reason. */
bool waiting_read_on(struct waiting *waiting, struct queue *queue, const char *source, struct error *why);

/* Whether this version of the event waits, or a newer one. */
bool waiting_has(const struct waiting *waiting, const struct identity *identity);

#endif
