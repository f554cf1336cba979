/* Repairing a damaged database, with one moment at which it takes effect: the directory `repairing`, in which the new
 * database is built, is renamed to `repaired`. Before it nothing of the old one is touched; after it whoever opens the
 * state directory next puts the new one in its place. A process may die anywhere in between. */
#ifndef QUEUE_SQLITE_REPAIR_H
#define QUEUE_SQLITE_REPAIR_H

#include <stdbool.h>

#include "base/error.h"
#include "config/config.h"

/* Whether there is something to repair, or a repair to be ended. */
bool repair_is_due(const char *directory);

/* Repairs, or ends a repair that died. Only with open.lock held exclusively, and no connection in this process. What
 * could not be read is logged and noted as loss of its source (queue/loss.h) before the new database takes effect; the
 * damaged files are kept in damaged-TIME. Returns false with the reason when it cannot be done now, for want of room
 * for example: then the old database is as it was, and the repair is still due. */
bool repair_run(const char *directory, const struct config *config, struct error *why);

/* Notes a loss of all sources where the database is missing though the directory shows that there was one. Any process.
 * Returns false with the reason when that could not be noted: then no new one may be made. */
bool repair_note_missing(const char *directory, const struct config *config, struct error *why);

#endif
