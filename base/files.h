/* Files: reading, writing and syncing them, locking by them, mapping them into memory. */
#ifndef BASE_FILES_H
#define BASE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* ---- Complete reads and writes, fsync, and small private files that are replaced atomically: a reader sees the old or
 * the new content, also after a power loss. Their format is lines of `name = value`, readable by people. ---- */

/* Writes all bytes, repeating after signals and short writes. Returns false with errno. */
bool files_write_all(int fd, const void *data, size_t length);

/* Reads until end of file or until size bytes have arrived. Returns their number; -1 with errno. */
ssize_t files_read_all(int fd, void *data, size_t size);

/* Syncs a file, or a directory, whose entries then survive a power loss. Returns false with the reason. */
bool files_sync(const char *path, struct error *why);

#define FILES_READ_MAX 65536 /* bytes */
#define FILES_PATH 4096

/* Whether the path is a directory that belongs to this process's user. Commands leave files in no other: its owner
 * could not replace them. */
bool files_is_own_directory(const char *path);

/* Creates the directory parent/name with mode 0700, if missing. name may have several components; each one that is made
 * has its name synced. Writes the path to out. Returns false with the reason. */
bool files_make_directory(char out[static FILES_PATH], const char *parent, const char *name, struct error *why);

/* Replaces directory/name, with mode 0600: writes and syncs a temporary file, renames it, syncs the directory. Returns
 * false with the reason, and the old file is unchanged. */
bool files_replace(const char *directory, const char *name, const char *text, struct error *why);

/* Reads directory/name, NUL-terminated; the caller frees it (with files_free if it holds a secret). Returns NULL
 * with the reason; *missing (may be NULL) is true when the file does not exist. */
char *files_read(const char *directory, const char *name, bool *missing, struct error *why);

/* Overwrites the text with zeros and frees it. NULL is allowed. */
void files_free(char *text);

/* Removes directory/name and syncs the directory. A missing file is no error. Returns false with the reason. */
bool files_remove(const char *directory, const char *name, struct error *why);

/* Copies the value of a name in a file's text. Returns false, and out is "", when the name is absent or the value does
 * not fit. */
bool files_value(const char *text, const char *name, char *out, size_t size);

/* Returns the value of a name as a number; fallback when the name is absent. */
int64_t files_number(const char *text, const char *name, int64_t fallback);

/* ---- Lock files: flock on a file that may be removed or replaced while locked. A later process would then lock
 * another file, and both would believe to hold the lock: so a lock is valid only while its file is still at its
 * path. ---- */

/* Locks the file at the path, created with mode 0600 if missing; how: as for flock, LOCK_SH or LOCK_EX, with or without
 * LOCK_NB. *fd: the file's descriptor, -1 before the first call; if its file is no longer at the path, it is closed and
 * the new file opened. When no file can be opened there, for example because the directory is gone, the old one is
 * locked. Returns 0 or errno: EWOULDBLOCK when another process holds the lock. */
int lock_take(int *fd, const char *path, int how);

/* Locks likewise, LOCK_EX, and waits at most so long (ms) while another process holds the lock; any other failure comes
 * at once. When it fails, *fd is closed, and -1. Returns 0 or errno. */
int lock_take_within(int *fd, const char *path, int64_t wait_ms);

/* Unlocks, also where the kernel or a network file system fails that, as nobody else could lock any more: then *fd is
 * closed, and -1. Else it stays open. */
void lock_release(int *fd);

/* The process that holds a lock. */
struct lock_holder {
    pid_t pid;    /* 0: unknown: no /proc, or the process is in another container */
    bool stopped; /* it is stopped (SIGSTOP, Ctrl-Z) and stays so until SIGCONT */
};

/* Finds the process that holds the exclusive lock on the file at the path. */
struct lock_holder lock_find_holder(const char *path);

/* Whether the descriptor's file is still the one at the path. */
bool lock_is_current(int fd, const char *path);

/* ---- mapping.c: Memory-mapped files that survive a full disk. Writing to a mapped page for which the file system has
 * no space, or accessing a page beyond the end of a truncated file, raises SIGBUS, which ends the process; on
 * copy-on-write file systems this happens even after preallocation. A guarded mapping replaces the page by private
 * memory with its contents, as far as they can be read, and continues unshared. ---- */

/* Maps that many bytes of the file, shared and guarded. Takes ownership of fd, also on failure. Returns NULL with
 * errno. Installs a SIGBUS handler, which passes faults of other memory to the handler installed before, and unblocks
 * SIGBUS in this thread: no thread that uses the mapping may block it. Any thread. */
void *mapping_open(int fd, size_t bytes);

/* Whether a page was replaced by private memory: changes to it do not reach the file. */
bool mapping_is_lost(const void *at);

/* Unmaps it. No thread may use the mapping any more. */
void mapping_close(void *at);

#endif
