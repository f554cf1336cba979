/* An event as it came, and below it the message that it makes, without what the source's `remove` names: personal data
 * stays out of sight here too. */
#ifndef COMMANDS_VIEW_H
#define COMMANDS_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "config/config.h"

/* Writes both to stdout; of an unusable body why it is. source: its name, configured or not; of one that is not, what
 * any source removes stays out of sight. Returns false with the reason when memory ran out. */
bool view_event(const struct config *config, const char *source, const char *body, size_t length, struct error *why);

/* Writes a JSON text, that way, and a newline. paths: members to leave out,
 * from the root on, in the way of `remove` (rules.h). *removed counts what was left out. Returns false where the text
 * is no JSON, or when memory ran out: then the rest is missing. */
bool layout_write(FILE *out, const char *text, size_t length, const char *const *paths, size_t count, size_t *removed);

#endif
