/* Whether alerts can be told in this place, for `check` and `alert-test`. */
#ifndef COMMANDS_CHECK_ALERTS_H
#define COMMANDS_CHECK_ALERTS_H

#include <stddef.h>

#include "config/config.h"

/* Prints what stands in the way of alert_command: it is missing, cannot be executed, or is setuid where
 * the process that runs it may not start such programs. Returns how many things are wrong. Call as the state
 * directory's owner. */
size_t check_alerts(const struct config *config);

#endif
