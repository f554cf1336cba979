/* When the database is removed or replaced under a running process, what it holds is only in files without a name. It
 * is saved into a file of the state directory as a whole, at once and again when the process lets go of it; whoever
 * gets the open lock exclusively then brings over what was saved into the database that stands there.
 *
 * Each of several processes with the same old files saves all of it, under the same name: the last one has everything,
 * what the others delivered meanwhile too. So it is brought over once.
 *
 * Where open.lock was removed, too, what was saved first may be brought over while such a process still delivers. That
 * is why only one at a time saves or brings over (a lock on the mark "displaced"), and why nobody begins to forward
 * while something is to be brought over. */
#ifndef QUEUE_SQLITE_RESCUE_H
#define QUEUE_SQLITE_RESCUE_H

#include "config/config.h"
#include "queue/sqlite/database.h"
#include "queue/sqlite/place.h"

/* Whether files were replaced, or something saved is to be brought over: then all let go of the queue. */
bool rescue_is_due(const char *directory);

/* Saves all that a connection to the old files sees into the state directory, which is made when it is gone. No writer
 * of the old files may go on. Returns DONE or the result with the reason. */
enum database_result rescue_save(struct database *old, const struct places *places, const char *directory,
                                 struct error *why);

/* When it was saved last: Unix time in ms; 0: never. */
int64_t rescue_saved_at(const struct places *places, const char *directory);

/* Brings over what was saved. Only with the open lock held exclusively, and no connection open. Returns DONE, or the
 * result with the reason; then it is due as before, and nothing is lost. */
enum database_result rescue_bring_over(const char *directory, const struct config *config, struct error *why);

/* Says loudly that what the old files held could not be saved, and notes it as a loss of all sources (queue/loss.h):
 * the next reconcile fetches what Close still has. */
void rescue_note_loss(const char *directory, const struct config *config, const char *words);

/* Bringing what one database of the queue holds into another one. */

/* Puts all that waits in the database at `saved` into the state directory's queue, in one transaction: identities,
 * dead letters, waiting events. An event that stands in both with the same number is one; one that was delivered
 * already, or waits there under another number, is found out by its identity when it is forwarded. Events and letters
 * come with new numbers; replays stay replays. Of the counts only the times of the last events are taken on, and what
 * comes is counted as accepted: what was settled before is the saved one's past. Nobody else may have the queue open.
 * Returns DONE; DAMAGED when it is the saved one that is; or the result with the reason. */
enum database_result merge_into_queue(const char *directory, const char *saved, struct error *why);

#endif
