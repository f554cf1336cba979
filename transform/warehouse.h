/* Which table and columns a RudderStack warehouse destination makes of a message, and what is lost there. For people,
 * before anything is sent: rules of RudderStack's that are known to change are in one table (warehouse_rules.c). Pure,
 * as all of transform/; one thread. */
#ifndef TRANSFORM_WAREHOUSE_H
#define TRANSFORM_WAREHOUSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

/* A warehouse of which only the tables' columns and their types are known, from the messages described so far: the
 * first value of a column decides its type. */
struct warehouse;

/* The names of the known warehouses, as `postgres`; NULL beyond the last. */
const char *warehouse_name(size_t index);

/* Returns an empty warehouse of that name; NULL when there is none, or memory is out. Free with warehouse_free. */
struct warehouse *warehouse_new(const char *name);
void warehouse_free(struct warehouse *warehouse);

/* Appends lines on a message as transform_message or transform_person makes it: its tables, their columns with their
 * types and the members that are in them, and a line that begins with "warning" for all that is lost. Returns false
 * when out of memory. */
bool warehouse_describe(struct warehouse *warehouse, const char *message, size_t length, struct buffer *out);

#endif
