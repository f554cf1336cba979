/* What `check` says of the queue: the state directory, what waits, who forwards; each with what to do. */
#ifndef COMMANDS_CHECK_QUEUE_H
#define COMMANDS_CHECK_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

/* Opens the queue, looks at it and prints. Makes no state directory. As root the process takes on the directory's
 * owner. delivers: for each configured source, whether its data plane was just found to take its key; if it had refused
 * before, the process that forwards is told. Returns how many things are wrong, each with WRONG in its line.
 * *stands_still: events wait, and no process forwards; that is wrong only when it lasts. */
size_t check_queue(const struct config *config, const bool *delivers, bool *stands_still);

/* Looks only whether the state directory could be used: opens and makes nothing, and what waits does not matter.
 * Returns likewise. */
size_t check_state_directory(const struct config *config);

#endif
