/* Repairs a damaged database, taking effect atomically: the new database is built in the directory `repairing`, which
 * is then renamed to `repaired`. Before the rename the old database is untouched; after it, the next process that opens
 * the state directory puts the new one in place. Safe against a crash at any point. */
#ifndef QUEUE_SQLITE_REPAIR_H
#define QUEUE_SQLITE_REPAIR_H

#include <stdbool.h>

#include "base/error.h"
#include "config/config.h"

/* Whether a repair is needed, or an interrupted one to be finished. */
bool repair_is_due(const char *directory);

/* Repairs, or finishes an interrupted repair. Only with open.lock held exclusively and no connection in this process.
 * What could not be read is logged and recorded as a loss of its source (queue/inspect.h) before the new database takes
 * effect; the damaged files are kept in damaged-TIME. Returns false with the reason when repairing is not possible now,
 * as for lack of space: then the old database is unchanged and the repair still due. */
bool repair_run(const char *directory, const struct config *config, struct error *why);

/* Records a loss of all sources where the database is missing although the directory shows that there was one. While a
 * process forwards, which may have it open and save it, it is only marked as missing. Any process. Returns false with
 * the reason when that failed: then no new database may be created. */
bool repair_note_missing(const char *directory, const struct config *config, struct error *why);

/* For the owner, and where nobody forwards: records the loss of a database that was marked as missing, unless it was
 * saved. Returns false with the reason. */
bool repair_end_missing(const char *directory, const struct config *config, struct error *why);

#endif
