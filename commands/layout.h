/* JSON text laid out for a terminal: see base/json_layout.h. */
#ifndef COMMANDS_LAYOUT_H
#define COMMANDS_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/json_layout.h"

/* A layout that goes to a terminal: indented, and nothing that a terminal would obey. */
struct layout layout_on(FILE *out);

/* Writes a JSON text, that way, and a newline. paths: members to leave out,
 * from the root on, in the way of `remove` (rules.h). *removed counts what was left out. Returns false where the text
 * is no JSON, or when memory ran out: then the rest is missing. */
bool layout_write(FILE *out, const char *text, size_t length, const char *const *paths, size_t count, size_t *removed);

#endif
