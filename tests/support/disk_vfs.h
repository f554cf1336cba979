/* A disk that fails, or whose power is cut: SQLite's file system calls go through here, are counted, made to fail, and
 * recorded. While it is installed, every database that is opened uses it. */
#ifndef TESTS_SUPPORT_DISK_VFS_H
#define TESTS_SUPPORT_DISK_VFS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* No database may be open while it is installed or removed. Returns whether it worked. */
bool disk_install(void);
void disk_remove(void);

/* From now on the n-th call that writes, syncs or truncates fails with that code of SQLite (of a write half is done),
 * and with for_ever all after it; 0: none. */
void disk_fail(unsigned n, bool for_ever, int code);

/* As disk_fail; the failing calls leave that errno, as a kernel does. */
void disk_fail_with(unsigned n, bool for_ever, int code, int error);

/* From now on the log cannot grow beyond so many bytes: writes beyond fail with SQLITE_IOERR_WRITE and EDQUOT. 0: no
 * limit. */
void disk_limit_log(size_t bytes);

/* Whether a call has failed since. */
bool disk_failed(void);

/* Before the n-th call from now on that writes, syncs or truncates this is called, in the thread that makes it; 0:
 * never. */
void disk_at_call(unsigned n, void (*act)(void));

/* From now on this is called before each sync of the database file (not of its log), in the thread that syncs, which
 * has its transaction open; NULL: nothing. */
void disk_at_sync(void (*act)(void));

/* Once, while SQLite takes room in a file for what will be written to it (SQLITE_FCNTL_SIZE_HINT), this is called in
 * the thread that asked for it: after SQLite has looked how long the file is and before it makes it longer. NULL:
 * nothing. */
void disk_at_size_hint(void (*act)(void));

/* From now on files that are opened cannot be mapped, as on a network file system, so that the queue does without a
 * write-ahead log. */
void disk_without_maps(bool unmapped);

/* Checkpoints that began, and those of them that SQLite's WAL-reset bug could hit: the log was not empty and copied
 * completely, and nobody held write.lock. May lie in memory that several processes share. */
struct disk_checkpoints {
    atomic_uint begun, exposed;
};

/* From now on they are counted there; NULL: not any more. No database may be in use. */
void disk_watch_checkpoints(struct disk_checkpoints *checkpoints);

/* ---- power ---- */

/* Records from now on what is written and synced; what these files hold now counts as synced. */
void disk_record(const char *directory);

/* Puts a mark into the record: a promise that was given at that moment. Any thread. */
void disk_mark(unsigned promise);

/* Ends recording. Returns how long the record is. */
size_t disk_recorded(void);

/* Writes into a directory the files as they may be after the power was cut at that place of the record: all that was
 * synced, and of what was not some, by a random number. */
void disk_after_cut(const char *directory, size_t cut, unsigned random);

/* Whether the promise was given before that place. */
bool disk_promised(size_t cut, unsigned promise);

/* Forgets the record. */
void disk_forget(void);

#endif
