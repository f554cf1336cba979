/* Which events the subscriptions of a source cover, by type and by extra_filter: what the webhook would have brought.
 */
#ifndef CLOSEAPI_COVERAGE_H
#define CLOSEAPI_COVERAGE_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stdint.h>

#include "closeapi/subscriptions.h"

/* The subscriptions that count; borrowed from a list. All zero covers nothing. */
struct coverage {
    const struct subscription *at[SUBSCRIPTIONS_MOST];
    size_t count;
};

/* Finds the source's own: those whose key we hold; else the one with the source's signature key, where Close repeats
 * it; else those whose address ends with the source's name; else the only one there is. None is found: returns false
 * with the reason. */
bool coverage_find(struct coverage *coverage, const struct subscriptions *list, const struct source *source,
                   size_t sources, const struct keyring *held, struct error *why);

/* A subscription that sends to this source, and whose key is not held here: one of the coverage, or one of the list
 * with the address of one of those. NULL: none, or that cannot be told (a key in the configuration, a write key in the
 * address). */
const struct subscription *coverage_keyless(const struct coverage *coverage, const struct subscriptions *list,
                                            const struct source *source, const struct keyring *held);

/* What is wrong with it, and what to do. */
void coverage_keyless_words(const struct subscription *subscription, const struct source *source, struct error *words);

/* The subscription that would have delivered this event (of usable type and action), or NULL. event: its tree. */
const struct subscription *coverage_match(const struct coverage *coverage, const char *object_type, const char *action,
                                          struct json_object *event);

/* Whether an extra_filter lets an event pass. One of a kind that is not known lets all pass. */
bool filter_passes(struct json_object *filter, struct json_object *value);

/* Appends the names of all covered events, sorted, a blank between; filters show as a `*` behind the name. */
void coverage_describe(const struct coverage *coverage, struct buffer *out);

#endif
