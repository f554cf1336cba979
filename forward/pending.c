/* Lists of events on their way, and a hash table of them: see pending.h. */
#include "forward/pending.h"

#include <stdlib.h>
#include <string.h>

void pending_list_init(struct pending_list *list)
{
    list->first = NULL;
    list->end = &list->first;
    list->count = 0;
}

void pending_push(struct pending_list *list, struct pending *pending)
{
    pending->next = NULL;
    *list->end = pending;
    list->end = &pending->next;
    list->count++;
}

struct pending *pending_pop(struct pending_list *list)
{
    struct pending *pending = list->first;
    if (pending == NULL)
        return NULL;
    list->first = pending->next;
    if (list->first == NULL)
        list->end = &list->first;
    list->count--;
    return pending;
}

void pending_push_first(struct pending_list *list, struct pending *pending)
{
    pending->next = list->first;
    if (list->first == NULL)
        list->end = &pending->next;
    list->first = pending;
    list->count++;
}

void pending_remove(struct pending_list *list, const struct pending *pending)
{
    struct pending **link = &list->first;
    while (*link != pending)
        link = &(*link)->next;
    *link = pending->next;
    if (list->end == &pending->next)
        list->end = link;
    list->count--;
}

void pending_prepend(struct pending_list *list, struct pending_list *from)
{
    if (from->first == NULL)
        return;
    *from->end = list->first;
    if (list->first == NULL)
        list->end = from->end;
    list->first = from->first;
    list->count += from->count;
    pending_list_init(from);
}

void pending_move_person(struct pending_list *list, struct pending_list *from, uint64_t person)
{
    struct pending_list all;
    struct pending *pending;
    pending_move(&all, from);
    while ((pending = pending_pop(&all)) != NULL)
        pending_push(pending->person == person ? list : from, pending);
}

void pending_move(struct pending_list *list, struct pending_list *from)
{
    pending_list_init(list);
    pending_prepend(list, from);
}

void pending_list_free(struct pending_list *list)
{
    struct pending *pending;
    while ((pending = pending_pop(list)) != NULL) {
        while (pending->twins != NULL) {
            struct pending *twin = pending->twins;
            pending->twins = twin->twins;
            free(twin);
        }
        free(pending);
    }
}

/* ---- the hash table ---- */

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
