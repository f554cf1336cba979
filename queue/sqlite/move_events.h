/* Giving the waiting events of a source to another, in the order in which they were received. */
#ifndef QUEUE_SQLITE_MOVE_EVENTS_H
#define QUEUE_SQLITE_MOVE_EVENTS_H

#include "queue/sqlite/database.h"

/* One step, within a transaction of the caller's: the next events of the old source and those of the new one that
 * belong behind them. *moved counts the old source's. *more: there may be more; call it again in a transaction of its
 * own, now or after a restart. Returns DONE, or the result with the reason; then the transaction must be rolled back.
 */
enum database_result move_events(struct database *database, uint32_t from, uint32_t to, uint64_t *moved, bool *more);

#endif
