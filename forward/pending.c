/* Lists of events on their way: see pending.h. */
#include "forward/pending.h"

#include <stdlib.h>

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
