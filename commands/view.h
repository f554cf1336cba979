/* An event as it came, and below it the message that it makes, without what the source's `remove` names: personal data
 * stays out of sight here too. */
#ifndef COMMANDS_VIEW_H
#define COMMANDS_VIEW_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

/* Writes both to stdout; of an unusable body why it is. source: its name, configured or not; of one that is not, what
 * any source removes stays out of sight. Returns false with the reason when memory ran out. */
bool view_event(const struct config *config, const char *source, const char *body, size_t length, struct error *why);

#endif
