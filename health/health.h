/* Whether it works, judged by what happens: whether webhooks can come in at all, what became of the last event that one
 * brought, and whether the queue can be written (write_probe.h). Nothing is written here. */
#ifndef HEALTH_HEALTH_H
#define HEALTH_HEALTH_H

#include <stdbool.h>

#include "health/facts.h"
#include "health/write_probe.h"

/* The words are for everybody: no secret, no path, nothing of an event. */
struct health {
    bool good;
    struct error words;
    int64_t written_ms; /* the last probe that was written; Unix time; 0: none, or nothing is kept */
};

/* Judges. stands: webhooks are let in to the queue. */
void health_judge(const struct facts *facts, bool stands, const struct probed *probed, struct health *health);

/* Appends it as JSON. */
void health_write(struct buffer *out, const struct facts *facts, const struct health *health);

#endif
