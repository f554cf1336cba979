/* Bringing what one database of the queue holds into another one. */
#ifndef QUEUE_SQLITE_MERGE_H
#define QUEUE_SQLITE_MERGE_H

#include "queue/sqlite/database.h"

/* Puts all that waits in the database at `saved` into the state directory's queue, in one transaction: identities,
 * dead letters, waiting events. An event that stands in both with the same number is one; one that was delivered
 * already, or waits there under another number, is found out by its identity when it is forwarded. Events and letters
 * come with new numbers; replays stay replays. Of the counts only the times of the last events are taken on, and what
 * comes is counted as accepted: what was settled before is the saved one's past. Nobody else may have the queue open.
 * Returns DONE; DAMAGED when it is the saved one that is; or the result with the reason. */
enum database_result merge_into_queue(const char *directory, const char *saved, struct error *why);

#endif
