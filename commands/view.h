/* JSON on a terminal. */
#ifndef COMMANDS_VIEW_H
#define COMMANDS_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Writes a JSON text, indented, with nothing that a terminal would obey, and a newline. paths: members to leave out,
 * from the root on, in the way of `remove` (rules.h). *removed counts what was left out. Returns false where the text
 * is no JSON, or when memory ran out: then the rest is missing. */
bool view_layout(FILE *out, const char *text, size_t length, const char *const *paths, size_t count, size_t *removed);

#endif
