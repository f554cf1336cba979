/* What people see of a body, without the parser: name, id and lead; and the body without what `remove` names. */
#ifndef TRANSFORM_SHOWN_H
#define TRANSFORM_SHOWN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/json.h"
#include "transform/transform.h"

/* ---- The headline of an event's body, for lists: name as in `keep` and `drop`, id, lead. Read from the text without
 * the parser, so it also works for a body that crashes the parser, is truncated, or is only partly JSON. ---- */

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

/* ---- A webhook's body for display: without the members that `remove` names. ---- */

/* Writes the body without the members that the rules remove, taken from the event's data and previous_data; *removed
 * counts them. A body that is no JSON is written unchanged when the rules remove nothing. Never uses the parser.
 * Returns false, and writes nothing, when the rules remove something and the body is no JSON with an event, so its
 * contents are unknown; or when out of memory. */
bool shown_write(const char *body, size_t length, const struct rules *rules, const struct layout *layout,
                 size_t *removed);

/* Appends the body to out: unchanged when rules remove nothing, else as shown_write does, on one line. Returns false,
 * and appends nothing, on failure. */
bool transform_shown(const char *body, size_t length, const struct rules *rules, struct buffer *out);

/* Appends JSON text with line breaks and indentation. Truncated JSON and other text stay readable. */
void transform_indent(const char *text, size_t length, struct buffer *out);

#endif
