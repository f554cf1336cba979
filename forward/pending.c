/* Lists of events in flight, and a hash table of them: see pending.h. */
#include "forward/pending.h"

#include <stdlib.h>
#include <string.h>

bool pending_toggle_person(struct pending *pending)
{
    pending->track_only = pending->has_person && !pending->track_only;
    return pending->track_only;
}

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

bool pending_remove(struct pending_list *list, const struct pending *pending)
{
    struct pending **link = &list->first;
    while (*link != NULL && *link != pending)
        link = &(*link)->next;
    if (*link == NULL)
        return false;
    *link = pending->next;
    if (list->end == &pending->next)
        list->end = link;
    list->count--;
    return true;
}

struct pending *pending_find(const struct pending_list *list, uint64_t id)
{
    for (struct pending *pending = list->first; pending != NULL; pending = pending->next) {
        for (const struct pending *p = pending; p != NULL; p = p->duplicates) {
            if (p->id == id)
                return pending;
        }
    }
    return NULL;
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

void pending_move_key(struct pending_list *list, struct pending_list *from, uint64_t ordering_key)
{
    struct pending_list all;
    struct pending *pending;
    pending_move(&all, from);
    while ((pending = pending_pop(&all)) != NULL)
        pending_push(pending->ordering_key == ordering_key ? list : from, pending);
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
        while (pending->duplicates != NULL) {
            struct pending *duplicate = pending->duplicates;
            pending->duplicates = duplicate->duplicates;
            free(duplicate);
        }
        free(pending);
    }
}

/* ---- the hash table ---- */

#define BUCKETS 16384 /* for the 65,536 events that may be on their way: short chains, 128 KiB */

bool pending_table_init(struct pending_table *table)
{
    table->buckets = BUCKETS;
    table->bucket = calloc(BUCKETS, sizeof(struct pending *));
    return table->bucket != NULL;
}

void pending_table_free(struct pending_table *table)
{
    free(table->bucket);
    table->bucket = NULL;
}

/* The key is a hash already. */
static struct pending **bucket_of(const struct pending_table *table, const struct identity *identity)
{
    uint64_t hash;
    memcpy(&hash, identity->key, sizeof hash);
    return &table->bucket[hash & (table->buckets - 1)];
}

struct pending *pending_table_find(const struct pending_table *table, const struct identity *identity)
{
    struct pending *newest = NULL;
    for (struct pending *p = *bucket_of(table, identity); p != NULL; p = p->hashed) {
        if (memcmp(p->identity.key, identity->key, sizeof identity->key) == 0 &&
            (newest == NULL || p->identity.updated_us > newest->identity.updated_us))
            newest = p;
    }
    return newest;
}

void pending_table_add(struct pending_table *table, struct pending *pending)
{
    struct pending **bucket = bucket_of(table, &pending->identity);
    pending->hashed = *bucket;
    *bucket = pending;
}

void pending_table_remove(struct pending_table *table, const struct pending *pending)
{
    struct pending **link = bucket_of(table, &pending->identity);
    while (*link != NULL && *link != pending)
        link = &(*link)->hashed;
    if (*link != NULL)
        *link = pending->hashed;
}
