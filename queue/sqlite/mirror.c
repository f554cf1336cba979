/* A hash table of identities: see mirror.h. */
#include "queue/sqlite/mirror.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_PLACES 1024

/* The key is a hash already. */
static size_t place_of(const struct mirror *mirror, uint32_t source, const unsigned char key[16])
{
    uint64_t hash;
    memcpy(&hash, key, sizeof hash);
    return (size_t)(hash ^ source) & (mirror->places - 1);
}

static struct mirrored *find(const struct mirror *mirror, uint32_t source, const unsigned char key[16])
{
    size_t at = place_of(mirror, source, key);
    while (mirror->place[at].source != 0 &&
           (mirror->place[at].source != source || memcmp(mirror->place[at].key, key, 16) != 0))
        at = (at + 1) & (mirror->places - 1);
    return &mirror->place[at];
}

const struct mirrored *mirror_find(const struct mirror *mirror, uint32_t source, const unsigned char key[16])
{
    if (mirror->places == 0)
        return NULL;
    const struct mirrored *one = find(mirror, source, key);
    return one->source == 0 ? NULL : one;
}

static bool grow(struct mirror *mirror, size_t places)
{
    struct mirror larger = {.place = calloc(places, sizeof(struct mirrored)), .places = places, .used = mirror->used};
    if (larger.place == NULL)
        return false;
    for (size_t i = 0; i < mirror->places; i++) {
        if (mirror->place[i].source != 0)
            *find(&larger, mirror->place[i].source, mirror->place[i].key) = mirror->place[i];
    }
    free(mirror->place);
    *mirror = larger;
    return true;
}

bool mirror_reserve(struct mirror *mirror, size_t count)
{
    size_t places = mirror->places == 0 ? FIRST_PLACES : mirror->places;
    while ((mirror->used + count) * 2 > places)
        places *= 2;
    return places == mirror->places || grow(mirror, places);
}

bool mirror_add(struct mirror *mirror, const struct mirrored *one)
{
    if (!mirror_reserve(mirror, 1))
        return false;
    struct mirrored *place = find(mirror, one->source, one->key);
    if (place->source == 0) {
        *place = *one;
        mirror->used++;
        return true;
    }
    if (one->updated > place->updated)
        place->updated = one->updated;
    if (one->at > place->at)
        place->at = one->at;
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
    size_t n = 0;
    for (size_t i = 0; i < mirror->places; i++) {
        if (mirror->place[i].source != 0)
            sorted[n++] = mirror->place[i];
    }
    qsort(sorted, n, sizeof *sorted, mirror_compare);
    return sorted;
}

void mirror_free(struct mirror *mirror)
{
    free(mirror->place);
    *mirror = (struct mirror){0};
}
