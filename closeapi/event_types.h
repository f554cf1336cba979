/* The events that Close documents, from event-types.tsv: what `*` stands for when a subscription is made. Never a limit
 * to what is accepted. */
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
    char *text; /* names that are not in the table lie here */
};

/* The table. Sets *count. */
const struct event_type *event_types_all(size_t *count);

/* Expands "lead.created,opportunity.*" (commas or blanks between; NULL: all that are documented), each event once. A
 * name without `*` is taken as it is: Close has new events without notice. Returns false with the reason; then nothing
 * is to be freed. */
bool event_types_choose(const char *patterns, struct event_choice *choice, struct error *why);

void event_choice_free(struct event_choice *choice);

#endif
