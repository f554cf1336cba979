/* Backup and restore: one file with the queue and the small files of the state directory (signature keys, state of the
 * Close side). The file is a queue database with two more tables, so that an older release can use it as queue.db. It
 * contains keys and customer data. */
#ifndef QUEUE_BACKUP_H
#define QUEUE_BACKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "queue/queue.h"

/* A small file: name relative to the state directory ("keys/acme-whsub_1.key"). Owned by the struct backup_files. */
struct backup_file {
    char *name;
    char *bytes;
    size_t length;
};

/* All zero is empty; free with backup_files_free, which overwrites the bytes. */
struct backup_files {
    struct backup_file *at;
    size_t count;
};

/* Reads the small files of a state directory. Returns false with the reason. */
bool backup_files_gather(const char *state_dir, struct backup_files *files, struct error *why);

/* Adds a copy of a file. Returns false when memory is out. */
bool backup_files_add(struct backup_files *files, const char *name, const void *bytes, size_t length);

/* Whether a name is one that a backup contains: restoring writes no other. */
bool backup_file_is_good(const char *name);

/* Writes a file to the state directory, synced, unless it exists: then *there is set and the existing file is kept. */
bool backup_file_put(const char *state_dir, const struct backup_file *file, bool *there, struct error *why);

void backup_files_free(struct backup_files *files);

/* ---- reading and restoring a backup ---- */

struct backup;

/* Opens a backup, or a copy of a queue that an older release made, and checks its integrity. Only reads. Returns NULL
 * with the reason. */
struct backup *backup_open(const char *path, struct error *why);

/* When the backup was begun; nothing later is in it. Unix time in milliseconds. */
int64_t backup_made_ms(const struct backup *backup);

/* The sources in the backup; free with queue_names_free. */
bool backup_sources(struct backup *backup, struct strings *names, struct error *why);

/* The small files in the backup. */
bool backup_read_files(struct backup *backup, struct backup_files *files, struct error *why);

/* Locks a state directory for a restore: no other process may have its queue open, and the queue must hold no events.
 * Returns a descriptor that holds the lock until it is closed; -1 with the reason and its remedy. *busy: another
 * process uses the queue. */
int backup_lock(const char *state_dir, bool *busy, struct error *why);

/* Builds the restored queue beside the existing one, and adds the existing one's counts and identities of delivered
 * events. Call with the lock. */
bool backup_build(struct backup *backup, const char *state_dir, struct error *why);

/* Renames the built queue into place; until then nothing has changed. Call with the lock. */
bool backup_commit(const char *state_dir, struct error *why);

void backup_close(struct backup *backup);

#endif
