/* A hash table of identities with open addressing: see mirror.h. */
#include "queue/sqlite/mirror.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 1024
#define FIRST_ROOM 512

/* The key is a hash already. */
static size_t slot_of(const struct mirror *mirror, uint32_t source, const unsigned char key[16])
{
    uint64_t hash;
    memcpy(&hash, key, sizeof hash);
    return (size_t)(hash ^ source) & (mirror->slots - 1);
}

/* The slot of the entry with this key, or the empty slot where it would go. */
static uint32_t *find_mirrored(const struct mirror *mirror, uint32_t source, const unsigned char key[16])
{
    size_t at = slot_of(mirror, source, key);
    for (; mirror->slot[at] != 0; at = (at + 1) & (mirror->slots - 1)) {
        const struct mirrored *one = &mirror->entry[mirror->slot[at] - 1];
        if (one->source == source && memcmp(one->key, key, sizeof one->key) == 0)
            break;
    }
    return &mirror->slot[at];
}

const struct mirrored *mirror_find(const struct mirror *mirror, uint32_t source, const unsigned char key[16])
{
    if (mirror->slots == 0)
        return NULL;
    uint32_t which = *find_mirrored(mirror, source, key);
    return which == 0 ? NULL : &mirror->entry[which - 1];
}

static bool make_slots(struct mirror *mirror, size_t slots)
{
    uint32_t *slot = calloc(slots, sizeof *slot);
    if (slot == NULL)
        return false;
    free(mirror->slot);
    mirror->slot = slot;
    mirror->slots = slots;
    for (size_t i = 0; i < mirror->used; i++)
        *find_mirrored(mirror, mirror->entry[i].source, mirror->entry[i].key) = (uint32_t)i + 1;
    return true;
}

/* Grows in small steps: the kernel remaps large blocks instead of copying them, so steps are cheap and little is
 * unused. */
static bool make_room(struct mirror *mirror, size_t room)
{
    size_t least = mirror->room + mirror->room / 4 + FIRST_ROOM;
    room = room > least ? room : least;
    struct mirrored *one = realloc(mirror->entry, room * sizeof *one);
    if (one == NULL)
        return false;
    mirror->entry = one;
    mirror->room = room;
    return true;
}

bool mirror_reserve(struct mirror *mirror, size_t count)
{
    size_t wanted = mirror->used + count;
    size_t slots = mirror->slots == 0 ? FIRST_SLOTS : mirror->slots;
    while (wanted * 2 > slots)
        slots *= 2;
    if (wanted > mirror->room && !make_room(mirror, wanted))
        return false;
    return slots == mirror->slots || make_slots(mirror, slots);
}

bool mirror_add(struct mirror *mirror, const struct mirrored *one)
{
    if (!mirror_reserve(mirror, 1))
        return false;
    uint32_t *slot = find_mirrored(mirror, one->source, one->key);
    if (*slot == 0) {
        mirror->entry[mirror->used++] = *one;
        *slot = (uint32_t)mirror->used;
        return true;
    }
    struct mirrored *there = &mirror->entry[*slot - 1];
    if (one->updated > there->updated)
        there->updated = one->updated;
    if (one->at > there->at)
        there->at = one->at;
    return true;
}

int mirror_compare(const void *a, const void *b)
{
    const struct mirrored *x = a, *y = b;
    if (x->source != y->source)
        return x->source < y->source ? -1 : 1;
    return memcmp(x->key, y->key, sizeof x->key);
}

struct mirrored *mirror_sorted(const struct mirror *mirror)
{
    struct mirrored *sorted = mirror->used == 0 ? NULL : malloc(mirror->used * sizeof *sorted);
    if (sorted == NULL)
        return NULL;
    memcpy(sorted, mirror->entry, mirror->used * sizeof *sorted);
    qsort(sorted, mirror->used, sizeof *sorted, mirror_compare);
    return sorted;
}

void mirror_free(struct mirror *mirror)
{
    free(mirror->entry);
    free(mirror->slot);
    *mirror = (struct mirror){0};
}
