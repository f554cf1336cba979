/* When the database is removed or replaced under a running process, what it holds is only in files without a name. It
 * is saved into a file of the state directory as a whole, at once and again when the process lets go of it; whoever
 * gets the open lock exclusively then brings over what was saved into the database that stands there.
 *
 * Each of several processes with the same old files saves all of it, under the same name: the last one has everything,
 * what the others delivered meanwhile too. So it is brought over once. */
#ifndef QUEUE_SQLITE_RESCUE_H
#define QUEUE_SQLITE_RESCUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/config.h"
#include "queue/sqlite/database.h"
#include "queue/sqlite/directory.h"

/* ---- OPENFILES ---- */

enum open_files_state {
    FILES_IN_PLACE,           /* all stand where they were opened */
    FILES_DIRECTORY_GONE,     /* the state directory is gone: moved away, or removed */
    FILES_DIRECTORY_REPLACED, /* another directory stands there */
    FILES_DATABASE_REPLACED,  /* the database is gone, or another one stands there */
    FILES_LOG_REPLACED,       /* its log */
    FILES_INDEX_REPLACED,     /* the log's index */
};

struct file_identity {
    dev_t device;
    ino_t inode;
};

struct open_files {
    struct file_identity directory, database, log, index;
    bool has_log; /* else log and index mean nothing */
    /* Log and index lie beside the file itself, where queue.db is a link. */
    char database_path[STATE_PATH], log_path[STATE_PATH], index_path[STATE_PATH];
};

/* Notes where they stand. Returns false when one of them is missing. */
bool open_files_record(struct open_files *files, const char *directory, bool has_log);

/* Whether they still do: three calls of stat. *database_bytes: the database's size, when all stand. */
enum open_files_state open_files_check(const struct open_files *files, const char *directory, int64_t *database_bytes);

/* What is not as it was, for people. */
const char *open_files_words(enum open_files_state state);

/* Whether files were replaced, or something saved is to be brought over: then all let go of the queue. */
bool rescue_is_due(const char *directory);

/* Makes it due. */
void rescue_mark(const char *directory);

/* Saves all that a connection to the old files sees into the state directory, which is made when it is gone. No writer
 * of the old files may go on. Returns DONE or the result with the reason. */
enum database_result rescue_save(struct database *old, const struct open_files *files, const char *directory,
                                 struct error *why);

/* When it was saved last: Unix time in ms; 0: never. */
int64_t rescue_saved_at(const struct open_files *files, const char *directory);

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
