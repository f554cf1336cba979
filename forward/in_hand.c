/* A hash table of events on their way: see in_hand.h. */
#include "forward/in_hand.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 16384 /* for the 65,536 events that may be on their way: short chains, 128 KiB */

bool in_hand_init(struct in_hand *in_hand)
{
    in_hand->buckets = BUCKETS;
    in_hand->bucket = calloc(BUCKETS, sizeof(struct pending *));
    return in_hand->bucket != NULL;
}

void in_hand_free(struct in_hand *in_hand)
{
    free(in_hand->bucket);
    in_hand->bucket = NULL;
}

/* The key is a hash already. */
static struct pending **bucket_of(const struct in_hand *in_hand, const struct identity *identity)
{
    uint64_t hash;
    memcpy(&hash, identity->key, sizeof hash);
    return &in_hand->bucket[hash & (in_hand->buckets - 1)];
}

struct pending *in_hand_find(const struct in_hand *in_hand, const struct identity *identity)
{
    struct pending *newest = NULL;
    for (struct pending *p = *bucket_of(in_hand, identity); p != NULL; p = p->hashed) {
        if (memcmp(p->identity.key, identity->key, sizeof identity->key) == 0 &&
            (newest == NULL || p->identity.updated_us > newest->identity.updated_us))
            newest = p;
    }
    return newest;
}

void in_hand_add(struct in_hand *in_hand, struct pending *pending)
{
    struct pending **bucket = bucket_of(in_hand, &pending->identity);
    pending->hashed = *bucket;
    *bucket = pending;
}

void in_hand_remove(struct in_hand *in_hand, const struct pending *pending)
{
    struct pending **link = bucket_of(in_hand, &pending->identity);
    while (*link != NULL && *link != pending)
        link = &(*link)->hashed;
    if (*link != NULL)
        *link = pending->hashed;
}
