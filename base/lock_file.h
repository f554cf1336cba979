/* Lock files: flock on a file that may be removed or replaced while locked. A later process would then lock another
 * file, and both would believe to hold the lock: so a lock is valid only while its file is still at its path. */
#ifndef BASE_LOCK_FILE_H
#define BASE_LOCK_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Locks the file at the path, created with mode 0600 if missing; how: as for flock, LOCK_SH or LOCK_EX, with or without
 * LOCK_NB. *fd: the file's descriptor, -1 before the first call; if its file is no longer at the path, it is closed and
 * the new file opened. When no file can be opened there, for example because the directory is gone, the old one is
 * locked. Returns 0 or errno: EWOULDBLOCK when another process holds the lock. */
int lock_take(int *fd, const char *path, int how);

/* Locks likewise, LOCK_EX, and waits at most so long (ms) while another process holds the lock; any other failure comes
 * at once. When it fails, *fd is closed, and -1. Returns 0 or errno. */
int lock_take_within(int *fd, const char *path, int64_t wait_ms);

/* Unlocks; the descriptor stays open. */
void lock_release(int fd);

/* The process that holds a lock. */
struct lock_holder {
    pid_t pid;    /* 0: unknown: no /proc, or the process is in another container */
    bool stopped; /* it is stopped (SIGSTOP, Ctrl-Z) and stays so until SIGCONT */
};

/* Finds the process that holds the exclusive lock on the file at the path. */
struct lock_holder lock_find_holder(const char *path);

/* Whether the descriptor's file is still the one at the path. */
bool lock_is_current(int fd, const char *path);

#endif
