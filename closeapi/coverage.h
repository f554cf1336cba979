/* Coverage: the subscriptions that belong to a source, and which events they cover, by type and extra_filter. */
#ifndef CLOSEAPI_COVERAGE_H
#define CLOSEAPI_COVERAGE_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stdint.h>

#include "closeapi/event_types.h"
#include "closeapi/subscriptions.h"

/* The subscriptions of a source; borrowed from a list. All zero: none, which cover nothing. */
struct coverage {
    const struct subscription *at[SUBSCRIPTIONS_MOST];
    size_t count;
};

/* Finds the source's subscriptions: those whose key is held here; else those with the source's signature key, where
 * Close shows it; else those whose URL ends with the source's name; else the only one there is, for the only source.
 * sources: how many are configured. Returns false with the reason when none is found. */
bool coverage_find(struct coverage *coverage, const struct subscriptions *list, const struct source *source,
                   size_t sources, const struct keyring *held, struct error *why);

/* A subscription that delivers to this source, and whose signature key is not held here: one of the coverage, or one of
 * the list with the URL of one of those. NULL: there is none, or it cannot be told (a signature key in the
 * configuration, a write key in the URL). */
const struct subscription *coverage_keyless(const struct coverage *coverage, const struct subscriptions *list,
                                            const struct source *source, const struct keyring *held);

/* Writes what is wrong with it, and what to do. */
void coverage_keyless_words(const struct subscription *subscription, const struct source *source, struct error *words);

/* filter.c: whether an extra_filter lets an event pass. One that has a kind of filter in it which is not known here
 * lets all events pass. */
bool filter_passes(struct json_object *filter, struct json_object *value);

/* Whether a type, "lead.updated", is among the events of the subscriptions, with an extra_filter or without. */
bool coverage_has_type(const struct coverage *coverage, const char *name);

/* Adds the types of all covered events. Returns false when memory is out. */
bool coverage_add_types(const struct coverage *coverage, struct event_choice *types);

/* A list of event types, a blank between. Adds a name, unless it is there; a list that is full stays as it is. */
void coverage_list_add(char *list, size_t size, const char *name);

/* Takes those out of it that the subscriptions have. */
void coverage_list_reduce(const struct coverage *coverage, char *list);

/* Appends the names of all covered event types ("lead.updated"), sorted, a blank between; behind those with an
 * extra_filter stands `*`. */
void coverage_describe(const struct coverage *coverage, struct buffer *out);

#endif
