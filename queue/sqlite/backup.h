/* Shared by writing a backup (backup.c) and restoring it (restore.c). */
#ifndef QUEUE_SQLITE_BACKUP_H
#define QUEUE_SQLITE_BACKUP_H

#include "queue/sqlite/database.h"

/* The tables that a backup has in addition to a queue's. */
#define BACKUP_ABOUT "closecrm_backup"
#define BACKUP_FILES "closecrm_backup_file"

/* Copies the connection's database, as a snapshot without deleted content, to a new or empty file. Not synced. */
enum database_result backup_vacuum(struct database *database, const char *path);

/* The name under which a restore builds the queue, in the state directory. backup_remove_built removes that file and
 * SQLite's files beside it; call with open.lock held, shared or exclusive: a running restore holds it exclusively. */
#define BACKUP_BUILT "queue.db.restored"
void backup_remove_built(const char *directory);

/* Syncs a file that no connection has open, and its directory entry. Returns false with the reason. */
bool backup_sync(const char *path, struct error *why);

#endif
