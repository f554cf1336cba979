/* What writing a backup and putting it back share. */
#ifndef QUEUE_SQLITE_BACKUP_H
#define QUEUE_SQLITE_BACKUP_H

#include "queue/sqlite/database.h"

/* The tables that a backup has beside those of a queue. */
#define BACKUP_ABOUT "closecrm_backup"
#define BACKUP_FILES "closecrm_backup_file"

/* Writes the connection's database, as it is at one moment and without what was deleted, to a file that is new or
 * empty. Not synced. */
enum database_result backup_vacuum(struct database *database, const char *path);

/* The name under which a restore builds the queue, in the state directory. Removes it, and what SQLite made beside it:
 * with open.lock held, exclusively or not, for a restore that is alive holds it exclusively. */
#define BACKUP_BUILT "queue.db.restored"
void backup_remove_built(const char *directory);

/* Syncs a file that no connection has open, and its name. Returns false with the reason. */
bool backup_sync(const char *path, struct error *why);

#endif
