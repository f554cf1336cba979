/* What was tried lately: the last ten batches of each lane, with the ids of their events, so that an event's attempts
 * are found by its id. Written once a batch, never once an event. Stored in a file of the state directory, attempts.N
 * (N: version of its layout), which may be deleted at any time; without a state directory in memory. Only one process,
 * the forwarder, adds; any thread of any process reads. */
#ifndef TELEMETRY_ATTEMPTS_H
#define TELEMETRY_ATTEMPTS_H

#include <stddef.h>
#include <stdint.h>

#define ATTEMPTS_KEPT 10     /* of a lane */
#define ATTEMPTS_EVENTS 1000 /* of a batch that can be found: a larger one's first */

/* One batch with the data plane, as far as each of its events is concerned. */
struct attempt {
    int64_t sent_ms; /* Unix time */
    int64_t took_ms;
    int32_t status;  /* of HTTP; 0: no answer came */
    uint32_t events; /* in the batch */
    char words[160]; /* what came back, for people; cut to fit */
};

struct attempts;

/* Opens them for sources with these names and so many lanes each. state_dir NULL: in memory. Returns NULL when memory
 * is out. */
struct attempts *attempts_open(const char *state_dir, const char *const *names, size_t count, size_t lanes);

/* Adds a batch of a source's lane. attempts may be NULL. A failure loses only what is shown. */
void attempts_add(struct attempts *attempts, const char *source, size_t lane, const struct attempt *attempt,
                  const uint64_t *ids, size_t count);

/* Finds those of an event that began at since_ms or later, the oldest first. Returns how many. */
size_t attempts_of(struct attempts *attempts, const char *source, uint64_t id, int64_t since_ms,
                   struct attempt out[static ATTEMPTS_KEPT]);

void attempts_close(struct attempts *attempts);

#endif
