/* A sketch of the index of identities, in memory: of a key that is not in the index it says so, nearly always, without
 * a page being read. Looking for keys that are all new, in an index of two millions, costs a fifth of all that an event
 * costs (measured); with the sketch a backlog drains within a tenth of the rate with an empty one.
 *
 * A Bloom filter of fixed size: of one key in fifty it does not know at two millions, of every fourth at five, and
 * beyond that it helps less and less; "may be there" is always safe. It never forgets. The caller does the locking. */
#ifndef QUEUE_SQLITE_BLOOM_H
#define QUEUE_SQLITE_BLOOM_H

#include <stdbool.h>
#include <stdint.h>

/* All zero is none. */
struct bloom {
    uint64_t *bits; /* NULL: there is none */
    bool whole;     /* all that is in the index is in it */
};

/* Begins an empty one. Returns false when memory is out. */
bool bloom_begin(struct bloom *bloom);

/* Does nothing when there is none. */
void bloom_add(struct bloom *bloom, const unsigned char key[16]);

/* False: the key is surely not in the index. */
bool bloom_may_have(const struct bloom *bloom, const unsigned char key[16]);

void bloom_free(struct bloom *bloom);

#endif
