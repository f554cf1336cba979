/* What a list shows of an event's body: its name as `keep` and `drop` spell it, its id, its lead. It is taken from the
 * text as it stands, without the parser: a body that crashes the parser can be listed, and so can one that is cut or no
 * JSON, as far as it can be made out. */
#ifndef TRANSFORM_HEADLINE_H
#define TRANSFORM_HEADLINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define HEADLINE_TEXT 256 /* what is longer is cut, between two characters */

/* Not to be copied: its texts lie in itself. */
struct headline {
    const char *name; /* "activity.email.created"; NULL: it has none, and `why` says why it is no Close event */
    const char *id;   /* NULL: it has none, as the lead */
    const char *lead;
    size_t type_length; /* of name: where the dot between object_type and action stands */
    struct error why;   /* why the body is unusable, as far as a look at the text tells; "" else */

    char name_text[HEADLINE_TEXT], id_text[HEADLINE_TEXT], lead_text[HEADLINE_TEXT];
};

/* Looks at a body, which is borrowed during the call. Never fails. */
void headline_read(struct headline *headline, const char *body, size_t length);

/* Whether the name fits a pattern of `keep` and `drop`: `lead.*`. */
bool headline_fits(const struct headline *headline, const char *pattern);

/* Writes the name as messages have it, "activity.email created", or a note that there is none. */
void headline_event(const struct headline *headline, char *out, size_t size);

#endif
