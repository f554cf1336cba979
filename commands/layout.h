/* JSON text laid out for people: every token as it stands in the text, a member a line, and without the members that
 * nobody is to see. */
#ifndef COMMANDS_LAYOUT_H
#define COMMANDS_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Writes a JSON text, indented, and a newline. text: strict JSON, as json_read takes it, else nothing is promised but
 * that it ends. paths: members to leave out, from the root on, in the way of `remove` (rules.h). *removed counts what
 * was left out. Returns false when memory ran out: then the rest is missing. */
bool layout_write(FILE *out, const char *text, size_t length, const char *const *paths, size_t count, size_t *removed);

#endif
