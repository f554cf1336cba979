/* A backup: one file with the queue and the small files of the state directory that belong to it (signature keys, what
 * the Close side knows), and putting it back. The file is a queue's database with two more tables, so that a release
 * that knows nothing of them can use it as queue.db. It holds keys and customer data. */
#ifndef QUEUE_BACKUP_H
#define QUEUE_BACKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "queue/queue.h"

/* A small file: name within the state directory ("keys/acme-whsub_1.key"). Owned by the struct it stands in. */
struct backup_file {
    char *name;
    char *bytes;
    size_t length;
};

/* All zero is empty; free with backup_files_free, which overwrites. */
struct backup_files {
    struct backup_file *at;
    size_t count;
};

/* Reads those of a state directory. Returns false with the reason. */
bool backup_files_gather(const char *state_dir, struct backup_files *files, struct error *why);

/* Adds a copy of one. Returns false when memory is out. */
bool backup_files_add(struct backup_files *files, const char *name, const void *bytes, size_t length);

/* Whether a name is one of those that a backup holds: nothing else is ever written by restoring. */
bool backup_file_is_good(const char *name);

/* Writes a file to the state directory, synced, unless one is there already: then *there, and that one stays. */
bool backup_file_put(const char *state_dir, const struct backup_file *file, bool *there, struct error *why);

void backup_files_free(struct backup_files *files);

/* ---- reading a backup, and putting it back ---- */

struct backup;

/* Opens a backup, or a copy of a queue that an older release made, and checks that it is whole. Changes nothing.
 * Returns NULL with the reason. */
struct backup *backup_open(const char *path, struct error *why);

/* When it was begun: all that happened later is not in it. Unix time in milliseconds. */
int64_t backup_made_ms(const struct backup *backup);

/* The sources in it; free with queue_names_free. */
bool backup_sources(struct backup *backup, struct strings *names, struct error *why);

/* The small files in it. */
bool backup_read_files(struct backup *backup, struct backup_files *files, struct error *why);

/* Takes the state directory for putting a backup back: no other process may have its queue open, and that must not hold
 * events. Returns a descriptor that holds the lock until it is closed; -1 with the reason, which says what to do.
 * *busy: another process has it. */
int backup_lock(const char *state_dir, bool *busy, struct error *why);

/* Builds the queue beside the one that is there, with what that one remembers of events that were delivered, and its
 * counts. With the lock. */
bool backup_build(struct backup *backup, const char *state_dir, struct error *why);

/* Puts what was built in its place: before, all is as it was. With the lock. */
bool backup_commit(const char *state_dir, struct error *why);

void backup_close(struct backup *backup);

#endif
