/* Events on their way, found by identity: the same event come again must wait for the first one's end. */
#ifndef FORWARD_IN_HAND_H
#define FORWARD_IN_HAND_H

#include <stdbool.h>

#include "forward/pending.h"

struct in_hand {
    struct pending **bucket;
    size_t buckets; /* a power of two */
};

/* Returns false when memory is out. */
bool in_hand_init(struct in_hand *in_hand);

/* The newest version on its way of this identity, or NULL. */
struct pending *in_hand_find(const struct in_hand *in_hand, const struct identity *identity);

/* Adds one; an older version with the same key may be in already. */
void in_hand_add(struct in_hand *in_hand, struct pending *pending);

/* Takes it out; one that is not in is fine. */
void in_hand_remove(struct in_hand *in_hand, const struct pending *pending);

void in_hand_free(struct in_hand *in_hand);

#endif
