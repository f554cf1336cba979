/* Whether it works: a real, durable write where the queue is, and a queue that answers. */
#ifndef STATUS_HEALTH_H
#define STATUS_HEALTH_H

#include <stdbool.h>

#include "status/facts.h"

/* The words are for everybody: no secret, no path, nothing of an event. */
struct health {
    bool good;
    struct why words;
    int64_t written_ms; /* when the write that proves it was made; Unix time; 0: nothing is kept */
};

#define HEALTH_EVERY_MS ((int64_t)5000) /* a write is not made more often, by all processes together */

/* Looks, and writes unless that was done within HEALTH_EVERY_MS. */
void health_look(const struct facts *facts, struct health *health);

/* Appends it as JSON. */
void health_write(struct buffer *out, const struct facts *facts, const struct health *health);

#endif
