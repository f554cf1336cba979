/* The event types that Close documents, from event-types.tsv: what `*` stands for when a subscription is created.
 * Events of other types are accepted, too. */
#ifndef CLOSEAPI_EVENT_TYPES_H
#define CLOSEAPI_EVENT_TYPES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct event_type {
    const char *object_type;
    const char *action;
};

/* All zero is empty; free with event_choice_free. */
struct event_choice {
    struct event_type *at;
    size_t count;
    char *text; /* holds the names that are not in the table */
};

/* The table. Sets *count. */
const struct event_type *event_types_all(size_t *count);

/* Expands "lead.created,opportunity.*" (commas or blanks between; NULL: all that are documented) to event types, each
 * once. A name without `*` need not be in the table: Close adds event types without notice. Returns false with the
 * reason; then there is nothing to free. */
bool event_types_choose(const char *patterns, struct event_choice *choice, struct error *why);

/* Adds a type, unless it is there; its texts are borrowed. Returns false when memory is out. */
bool event_choice_add(struct event_choice *choice, const struct event_type *type);

void event_choice_free(struct event_choice *choice);

#endif
