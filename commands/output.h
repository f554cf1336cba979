/* A list as one JSON array, a line an element, written as it comes: it may be longer than memory is. */
#ifndef COMMANDS_OUTPUT_H
#define COMMANDS_OUTPUT_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transform/headline.h"

struct rows {
    size_t count; /* written so far */
};

/* An element: a new object with what all lists tell of an event. NULL when memory ran out. */
struct json_object *rows_new(uint64_t id, const char *source, const struct headline *headline, size_t bytes);

/* A JSON string of any text, which is made UTF-8. NULL when memory ran out. */
struct json_object *rows_text(const char *text);

/* Adds members. Return false when memory ran out; a NULL text and 0 ms stand for null. */
bool rows_add_text(struct json_object *row, const char *name, const char *text);
bool rows_add_date(struct json_object *row, const char *name, int64_t ms);
bool rows_add_truth(struct json_object *row, const char *name, bool truth);

/* Writes the element and frees it. */
void rows_write(struct rows *rows, struct json_object *row);

/* Writes the array's end. */
void rows_end(const struct rows *rows);

#endif
