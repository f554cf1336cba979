/* What brings a queue back: saving the content of replaced files and merging it, repairing a damaged database,
 * backups. */
#ifndef QUEUE_SQLITE_RECOVERY_H
#define QUEUE_SQLITE_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "config/config.h"
#include "queue/sqlite/database.h"
#include "queue/sqlite/files.h"

/* ---- store.c: the identity of the open files of a queue, checked by path alone: no file that SQLite has open is
 * opened here (database.h). ---- */

enum open_files_state {
    FILES_IN_PLACE,           /* all are where they were opened */
    FILES_DIRECTORY_GONE,     /* the state directory was moved or removed */
    FILES_DIRECTORY_REPLACED, /* another directory has its path */
    FILES_DATABASE_REPLACED,  /* the database was removed or replaced */
    FILES_LOG_REPLACED,       /* the same of its write-ahead log */
    FILES_INDEX_REPLACED,     /* the same of the log's index */
};

struct file_identity {
    dev_t device;
    ino_t inode;
};

struct open_files {
    struct file_identity directory, database, log, index;
    bool has_log; /* else log and index are not set */
    /* Where queue.db is a symbolic link, log and index are beside its target. */
    char database_path[STATE_PATH], log_path[STATE_PATH], index_path[STATE_PATH];
};

/* Records the identity of the files. Returns false when one is missing. */
bool open_files_record(struct open_files *files, const char *directory, bool has_log);

/* Compares them with the files at their paths, by three calls of stat. */
enum open_files_state open_files_check(const struct open_files *files, const char *directory);

/* ---- rescue.c: when the database is removed or replaced under a running process, its content exists only in unlinked
 * files that the process has open. They are saved to a file of the state directory at once, and again when the process
 * closes the queue; the next process that gets the open lock exclusively merges the saved file into the database at
 * queue.db.
 *
 * Several processes with the same old files save to the same name, each the whole content: the last save includes what
 * the others delivered meanwhile, so one merge is enough.
 *
 * Where open.lock was removed as well, what was saved first may be merged while such a process still delivers. So only
 * one at a time saves or merges (a lock on the mark "displaced"), and nobody begins to forward while a merge is due.
 * ---- */

/* Whether files were replaced, or a saved file is to be merged: then all processes close the queue. */
bool rescue_is_due(const char *directory);

/* Saves the content of the old files, as their connection sees it, to the state directory, which is created if it is
 * gone. No writer of the old files may continue. Returns DONE or the result with the reason. */
enum database_result rescue_save(struct database *old, const struct open_files *files, const char *directory,
                                 struct error *why);

/* Merges the saved files into the queue. Only with the open lock held exclusively and no connection open. Returns DONE,
 * or the result with the reason; then the rescue is still due and nothing is lost. */
enum database_result rescue_merge_saved(const char *directory, const struct config *config, struct error *why);

/* ---- merging one queue database into another (merge.c) ---- */

/* Copies identities, dead letters and waiting events of the database at `saved` into the state directory's queue in one
 * transaction, and adds its counts. An event with the same id and body in both is one event; one that was delivered
 * already, or waits under another id, is recognised by its identity when it is forwarded. Events and letters get new
 * ids; replays stay replays. A later copy of a database that was merged before adds only what is new in it. No other
 * process may have the queue open. Returns DONE; DAMAGED when the saved database is damaged; or the result with the
 * reason. */
enum database_result merge_into_queue(const char *directory, const char *saved, struct error *why);

/* ---- counts of merged databases (merge.c). All within merge_into_queue's transaction, with the saved database
 * attached as `saved`, and temp.source_map filled. ---- */

/* Before anything is copied: finds out what is new in the saved database: temp.merged_up_to (source, n) has the last
 * event id of each of its sources that was merged before, by its number there, and under 0 that of dead letters. */
enum database_result merge_counts_begin(struct database *database);

/* After everything was copied: adds the counts of all sources. */
enum database_result merge_counts_add(struct database *database);

/* Then, of each source that was merged: sets how many events were appended, so that those that wait are as many as
 * there are. */
enum database_result merge_counts_close(struct database *database, unsigned source);

/* ---- repair.c: Repairs a damaged database, taking effect atomically: the new database is built in the directory
 * `repairing`, which is then renamed to `repaired`. Before the rename the old database is untouched; after it, the next
 * process that opens the state directory puts the new one in place. Safe against a crash at any point. ---- */

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

/* ---- backup.c, restore.c: what both share ---- */

/* The tables that a backup has in addition to a queue's. */
#define BACKUP_ABOUT "closecrm_backup"
#define BACKUP_FILES "closecrm_backup_file"

/* Copies the connection's database, as a snapshot without deleted content, to a new or empty file. Not synced. */
enum database_result backup_vacuum(struct database *database, const char *path);

/* The name under which a restore or migration builds the queue, in the state directory. backup_remove_built removes
 * that file and SQLite's files beside it; call with open.lock held, shared or exclusive: who builds it holds it
 * exclusively. */
#define BACKUP_BUILT "queue.db.restored"
void backup_remove_built(const char *directory);

/* Puts what was built, which no connection has open, in the place of queue.db, durably. Returns false with the reason;
 * is_there: it was put there, and only whether a power cut would undo that is not known. */
bool backup_put_built(const char *directory, bool *is_there, struct error *why);

/* Syncs a file that no connection has open, and its directory entry. Returns false with the reason. */
bool backup_sync(const char *path, struct error *why);

#endif
