/* A copy in memory of the identity journal: identities of settled events that are not merged into the index yet. Only
 * the owner writes the journal, so its mirror is complete. The caller locks. */
#ifndef QUEUE_SQLITE_MIRROR_H
#define QUEUE_SQLITE_MIRROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mirrored {
    unsigned char key[16];
    uint32_t source;
    int64_t updated;
    int64_t at; /* Unix time, ms */
};

/* All zero is empty. */
struct mirror {
    struct mirrored *entry; /* all entries, in insertion order */
    size_t used;
    size_t room;
    uint32_t *slot; /* a hash table of indexes into `entry`, from 1; 0: empty */
    size_t slots;   /* 0 or a power of two */
};

/* Adds an identity; a newer version replaces an older one. Returns false when memory is out. */
bool mirror_add(struct mirror *mirror, const struct mirrored *one);

/* Reserves memory for count more, so that mirror_add cannot fail. */
bool mirror_reserve(struct mirror *mirror, size_t count);

/* The entry with this key, or NULL. */
const struct mirrored *mirror_find(const struct mirror *mirror, uint32_t source, const unsigned char key[16]);

/* Compares in the order of the index, for bsearch. */
int mirror_compare(const void *a, const void *b);

/* A copy of all entries in the order of the index, to be freed; NULL when memory is out or there are none. */
struct mirrored *mirror_sorted(const struct mirror *mirror);

void mirror_free(struct mirror *mirror);

#endif
