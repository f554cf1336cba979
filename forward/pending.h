/* An event in flight: what is held of it in memory while the queue holds its body. And lists of such events (intake.c).
 */
#ifndef FORWARD_PENDING_H
#define FORWARD_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "transform/transform.h"

struct pending {
    struct pending *next; /* in its list */
    uint64_t id;          /* in the queue */
    struct identity identity;
    int64_t received_ms;        /* Unix time; 0: not known; of a replay: when it was read */
    uint64_t ordering_key;      /* hash of whom the event is about: picks the lane */
    struct pending *duplicates; /* the same event come again: they end as this one does */
    struct pending *hashed;     /* next in the same bucket of struct pending_table */
    bool newer;                 /* an older version was delivered or is in flight: the messageId must differ */
    bool replay;                /* an operator has sent it again: not counted again */
    bool live;                  /* it came as soon as it happened: its delay is told */
    bool deferred_reported;     /* the queue knows, since it last gave out the body, that it stays */
    bool settling;              /* its verdict is in the outbox, to be settled */
    bool delivered;             /* that verdict is DELIVERED */
    bool holds;                 /* events about its ordering key wait until it has ended */
    bool has_person;            /* it has a message about the person, which goes with it ... */
    bool track_only;            /* ... but not this time: the data plane refused both */
    bool nul_replaced;          /* in its message U+0000 was replaced */
    bool suspected;             /* it was in a batch that the data plane refused */
    unsigned char starved;      /* times that memory was out for it alone */
    uint64_t accepted; /* requests of the source that were sent when it was suspected first, or failed last, parked */
    moment until;      /* set aside or parked: when to try again */
    int64_t parked_ms; /* parked: since when; Unix time; 0: not */
    bool unproven;     /* parked: while nothing else was accepted, but an empty batch found the data plane there */
    bool recalled;     /* parked: before a restart */
    unsigned tries;    /* parked: that failed */
    unsigned proofs;   /* parked: of these, while others were accepted */
};

/* What was tried with its message about the person was refused: the next try is without. What was tried without: the
 * next one is with it again. Returns whether the next try is without. */
bool pending_toggle_person(struct pending *pending);

/* In the order in which they came. All zero is no list: use pending_list_init. */
struct pending_list {
    struct pending *first;
    struct pending **end;
    size_t count;
};

void pending_list_init(struct pending_list *list);

void pending_push(struct pending_list *list, struct pending *pending);

/* Takes the first one out; NULL when the list is empty. */
struct pending *pending_pop(struct pending_list *list);

void pending_push_first(struct pending_list *list, struct pending *pending);

/* Takes this one out. Returns false when it is not in the list. */
bool pending_remove(struct pending_list *list, const struct pending *pending);

/* The one that has this id, or that this id is a duplicate of; NULL: none. */
struct pending *pending_find(const struct pending_list *list, uint64_t id);

/* Moves all of `from` before those of list; from is empty then. */
void pending_prepend(struct pending_list *list, struct pending_list *from);

/* Moves those with one ordering key to the end of another list, in order. */
void pending_move_key(struct pending_list *list, struct pending_list *from, uint64_t ordering_key);

/* Moves all of `from` to an empty list. */
void pending_move(struct pending_list *list, struct pending_list *from);

/* Frees all of the list and their duplicates. */
void pending_list_free(struct pending_list *list);

/* Events in flight, found by identity: the same event come again must wait for the first one's end. */
struct pending_table {
    struct pending **bucket;
    size_t buckets; /* a power of two */
};

/* Returns false when memory is out. */
bool pending_table_init(struct pending_table *table);

/* The newest version in flight of this identity, or NULL. */
struct pending *pending_table_find(const struct pending_table *table, const struct identity *identity);

/* Adds one; an older version with the same key may be in already. */
void pending_table_add(struct pending_table *table, struct pending *pending);

/* Takes it out; one that is not in is fine. */
void pending_table_remove(struct pending_table *table, const struct pending *pending);

void pending_table_free(struct pending_table *table);

#endif
