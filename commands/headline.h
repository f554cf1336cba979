/* What a list shows of an event's body: its name as `keep` and `drop` spell it, its id, its lead. */
#ifndef COMMANDS_HEADLINE_H
#define COMMANDS_HEADLINE_H

#include <stdbool.h>
#include <stddef.h>

#include "transform/transform.h"

struct headline {
    struct parsed *parsed; /* NULL: the body is unusable */
    char *name;            /* "activity.email.created"; NULL likewise */
    const char *id;        /* NULL: it has none, as the lead */
    const char *lead;
    struct why why; /* of an unusable body */
};

/* Reads a body, which is borrowed during the call; free what came with headline_free. Out of memory counts as unusable,
 * and why says so. */
void headline_read(struct headline *headline, const char *body, size_t length);

/* Whether the name fits a pattern of `keep` and `drop`: `lead.*`. */
bool headline_fits(const struct headline *headline, const char *pattern);

void headline_free(struct headline *headline);

#endif
