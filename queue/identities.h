/* A cache of the identities of settled events, in memory: bounded in count and age, the oldest evicted first. The
 * caller locks. */
#ifndef QUEUE_IDENTITIES_H
#define QUEUE_IDENTITIES_H

#include "queue/queue.h"

struct identities;

/* Makes a cache of at most capacity identities (at least 1), each valid for window_ms. Returns NULL when memory is out.
 */
struct identities *identities_new(size_t capacity, int64_t window_ms);

/* Adds an identity of a source (its number). A newer version replaces an older one; an older one only renews its age.
 */
void identities_add(struct identities *identities, uint32_t source, const struct identity *identity, moment now);

struct known identities_find(const struct identities *identities, uint32_t source, const struct identity *identity,
                             moment now);

void identities_free(struct identities *identities);

#endif
