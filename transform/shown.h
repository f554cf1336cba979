/* A webhook's body as people may see it: without what `remove` takes out of every event. */
#ifndef TRANSFORM_SHOWN_H
#define TRANSFORM_SHOWN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json_walk.h"
#include "transform/transform.h"

/* Writes the body without what the rules remove, from the event's data and likewise from its previous_data; *removed
 * counts that. Where they remove nothing and it is no JSON, it is written as it came. It never goes through the parser.
 * Returns false, and writes nothing, when something is to be removed and it is no JSON with an event in it, so that
 * nobody knows what it holds; or memory is out. */
bool shown_write(const char *body, size_t length, const struct rules *rules, const struct layout *layout,
                 size_t *removed);

/* Appends the body to out: as it came where rules remove nothing; else as shown_write does, in one line. Returns false,
 * and appends nothing, when that cannot be done. */
bool transform_shown(const char *body, size_t length, const struct rules *rules, struct buffer *out);

/* Appends JSON text with line breaks and indentation. Other text, or JSON that was cut, comes out readable too. */
void transform_indent(const char *text, size_t length, struct buffer *out);

#endif
