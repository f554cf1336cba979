/* What the forwarder tells those who watch: counts for charts, and a sample of events with their bodies. One thread,
 * the forwarder's. It costs nothing beyond some additions: bodies are read again for the sample only, 20 a second at
 * most.
 */
#ifndef FORWARD_SAMPLES_H
#define FORWARD_SAMPLES_H

#include "config/config.h"
#include "queue/queue.h"
#include "telemetry/telemetry.h"
#include "transform/transform.h"

/* Of one source. All zero tells nobody. */
struct watched {
    const struct source *source;
    struct queue *queue;
    const struct rules *rules;
    struct counted *counted;
    struct recent *recent;
    struct events events; /* of the sample in hand */
};

/* All is borrowed and must outlive it, but for watchers itself; what is NULL in it is not told. watched_free gives back
 * what it takes. */
void watched_init(struct watched *watched, const struct source *source, struct queue *queue, const struct rules *rules,
                  const struct watchers *watchers);

/* An event ends; call before the queue is told. newer: its message has the messageId of a newer version. */
void watched_verdict(struct watched *watched, const struct verdict *verdict, bool newer);

/* The data plane answered a batch; status 0: it did not. */
void watched_answer(struct watched *watched, int status);

void watched_free(struct watched *watched);

#endif
