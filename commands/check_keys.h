/* The signature keys, as `check` sees them. */
#ifndef COMMANDS_CHECK_KEYS_H
#define COMMANDS_CHECK_KEYS_H

#include <stddef.h>

#include "config/config.h"

/* Says which keys of a source are missing, and that it is open where the configuration wants that. Returns how much is
 * wrong. */
size_t check_source_keys(const struct config *config, const struct source *source);

/* Says which keys are held for sources that are not configured. */
void check_stray_keys(const struct config *config);

#endif
