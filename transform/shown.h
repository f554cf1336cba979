/* A webhook's body as people may see it: without what `remove` takes out of every event. */
#ifndef TRANSFORM_SHOWN_H
#define TRANSFORM_SHOWN_H

#include <stdbool.h>
#include <stddef.h>

#include "transform/transform.h"

/* Appends the body to out: as it came where rules remove nothing; else without what they remove, from the event's data
 * and likewise from its previous_data (and without members that are null). Returns false, and appends nothing, when
 * something is to be removed and the body cannot be read, so that nobody knows what is in it; or memory is out. */
bool transform_shown(const char *body, size_t length, const struct rules *rules, struct buffer *out);

/* Appends JSON text with line breaks and indentation. Other text, or JSON that was cut, comes out readable too. */
void transform_indent(const char *text, size_t length, struct buffer *out);

#endif
