/* Identities that were settled, remembered in memory: bounded in count and age, the oldest forgotten first. One thread
 * at a time. */
#ifndef QUEUE_IDENTITIES_H
#define QUEUE_IDENTITIES_H

#include "queue/queue.h"

struct identities;

/* Remembers at most capacity identities (at least 1) for window_ms. Returns NULL when memory is out. */
struct identities *identities_new(size_t capacity, int64_t window_ms);

/* Remembers one of a source (its number). A newer version replaces an older one; an older one changes nothing. */
void identities_add(struct identities *identities, uint32_t source, const struct identity *identity, moment now);

struct known identities_find(const struct identities *identities, uint32_t source, const struct identity *identity,
                             moment now);

void identities_free(struct identities *identities);

#endif
