/* The headline of an event's body, for lists: name as in `keep` and `drop`, id, lead. Read from the text without the
 * parser, so it also works for a body that crashes the parser, is truncated, or is only partly JSON. */
#ifndef TRANSFORM_HEADLINE_H
#define TRANSFORM_HEADLINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define HEADLINE_TEXT 256 /* what is longer is cut, between two characters */

/* Must not be copied: it contains pointers into itself. */
struct headline {
    const char *name; /* "activity.email.created"; NULL: none, and `why` says why it is no Close event */
    const char *id;   /* NULL: none */
    const char *lead;
    size_t type_length; /* length of object_type: the dot's position in name */
    struct error why;   /* why the body is unusable, as far as this reading can tell; else "" */

    char name_text[HEADLINE_TEXT], id_text[HEADLINE_TEXT], lead_text[HEADLINE_TEXT];
};

/* Reads a body, which is borrowed during the call. Never fails. */
void headline_read(struct headline *headline, const char *body, size_t length);

/* Whether the name matches a pattern of `keep` and `drop`: `lead.*`. */
bool headline_matches(const struct headline *headline, const char *pattern);

/* Writes the event name as in messages, "activity.email created", or a placeholder if there is none. */
void headline_event(const struct headline *headline, char *out, size_t size);

#endif
