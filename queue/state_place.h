/* That a state directory was used, noted beside the configuration: one that is away (its disk is not mounted, it was
 * renamed) must not be made anew, empty, while what waits and the keys are elsewhere. Where the configuration's folder
 * belongs to another user nothing is noted; there the state directory's folder mostly does, too, and nothing can be
 * made in it. */
#ifndef QUEUE_STATE_PLACE_H
#define QUEUE_STATE_PLACE_H

#include <stdbool.h>

#include "base/error.h"
#include "config/config.h"

#define STATE_PLACE_SUFFIX ".state_dir" /* behind the configuration's name, as several may share a folder */

/* Whether the state directory is there, or may be made. Returns false with the reason, ERROR_MISSING, and what to do.
 */
bool state_place_may_open(const struct config *config, struct error *why);

/* Notes that it is used. What cannot be noted is not. */
void state_place_note(const struct config *config);

#endif
