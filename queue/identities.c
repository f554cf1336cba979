/* A ring of identities, found through a hash table: see engine.h. */
#include "queue/engine.h"

#include <stdlib.h>
#include <string.h>

#define NOBODY UINT32_MAX

struct remembered {
    unsigned char key[16];
    uint32_t source;
    uint32_t next; /* next in the same bucket; NOBODY: none */
    int64_t updated_us;
    moment since;
};

struct identities {
    struct remembered *ring;
    uint32_t *bucket; /* mask + 1 of them: the first of each, or NOBODY */
    uint32_t mask;
    uint32_t capacity;
    uint32_t used;
    uint32_t oldest; /* the slot that is reused next once the ring is full */
    int64_t window_ms;
};

struct identities *identities_new(size_t capacity, int64_t window_ms)
{
    struct identities *identities = calloc(1, sizeof *identities);
    if (identities == NULL)
        return NULL;
    uint32_t buckets = 1;
    while (buckets < capacity)
        buckets *= 2;
    identities->capacity = (uint32_t)capacity;
    identities->mask = buckets - 1;
    identities->window_ms = window_ms;
    identities->ring = malloc(capacity * sizeof *identities->ring);
    identities->bucket = malloc(buckets * sizeof *identities->bucket);
    if (identities->ring == NULL || identities->bucket == NULL) {
        identities_free(identities);
        return NULL;
    }
    memset(identities->bucket, 0xff, buckets * sizeof *identities->bucket);
    return identities;
}

void identities_free(struct identities *identities)
{
    if (identities == NULL)
        return;
    free(identities->ring);
    free(identities->bucket);
    free(identities);
}

/* Hashes by the key's first bytes, as the key is a hash already. */
static uint32_t *bucket_of(const struct identities *identities, const unsigned char key[16], uint32_t source)
{
    uint32_t hash;
    memcpy(&hash, key, sizeof hash);
    return &identities->bucket[(hash ^ source) & identities->mask];
}

static struct remembered *find_remembered(const struct identities *identities, uint32_t source,
                                          const unsigned char key[16])
{
    for (uint32_t i = *bucket_of(identities, key, source); i != NOBODY; i = identities->ring[i].next) {
        struct remembered *r = &identities->ring[i];
        if (r->source == source && memcmp(r->key, key, sizeof r->key) == 0)
            return r;
    }
    return NULL;
}

/* Removes the oldest identity from its bucket. Returns its slot, for reuse. */
static uint32_t forget_oldest(struct identities *identities)
{
    uint32_t slot = identities->oldest;
    struct remembered *old = &identities->ring[slot];
    uint32_t *link = bucket_of(identities, old->key, old->source);
    while (*link != slot)
        link = &identities->ring[*link].next;
    *link = old->next;
    identities->oldest = (slot + 1) % identities->capacity;
    return slot;
}

void identities_add(struct identities *identities, uint32_t source, const struct identity *identity, moment now)
{
    struct remembered *r = find_remembered(identities, source, identity->key);
    if (r != NULL) {
        if (identity->updated_us > r->updated_us)
            r->updated_us = identity->updated_us;
        r->since = now;
        return;
    }
    uint32_t slot = identities->used < identities->capacity ? identities->used++ : forget_oldest(identities);
    uint32_t *bucket = bucket_of(identities, identity->key, source);
    r = &identities->ring[slot];
    memcpy(r->key, identity->key, sizeof r->key);
    r->source = source;
    r->updated_us = identity->updated_us;
    r->since = now;
    r->next = *bucket;
    *bucket = slot;
}

struct known identities_find(const struct identities *identities, uint32_t source, const struct identity *identity,
                             moment now)
{
    const struct remembered *r = find_remembered(identities, source, identity->key);
    if (r == NULL || now - r->since > identities->window_ms)
        return (struct known){.delivered = false};
    return (struct known){.delivered = true, .delivered_us = r->updated_us};
}
