/* The journal of identities, in memory: those that were settled and are not merged into the index yet. The owner alone
 * writes the journal, so its mirror is the truth. The caller does the locking. */
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
    struct mirrored *one; /* all of them, in the order in which they came */
    size_t used;
    size_t room;
    uint32_t *slot; /* a hash table: which one, counted from 1; 0: none */
    size_t slots;   /* 0 or a power of two */
};

/* Adds one; a newer version replaces an older one. Returns false when memory is out. */
bool mirror_add(struct mirror *mirror, const struct mirrored *one);

/* Makes room for so many more, so that mirror_add cannot fail. */
bool mirror_reserve(struct mirror *mirror, size_t count);

/* The one with this key, or NULL. */
const struct mirrored *mirror_find(const struct mirror *mirror, uint32_t source, const unsigned char key[16]);

/* The order of the index, for bsearch. */
int mirror_compare(const void *a, const void *b);

/* All of them, sorted as the index is, to be freed; NULL when memory is out or there are none. */
struct mirrored *mirror_sorted(const struct mirror *mirror);

void mirror_free(struct mirror *mirror);

#endif
