/* A webhook's body for display: without the members that `remove` names. */
#ifndef TRANSFORM_SHOWN_H
#define TRANSFORM_SHOWN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"
#include "transform/transform.h"

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
