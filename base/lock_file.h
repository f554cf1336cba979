/* Lock files: a flock on a file whose name may be removed or replaced while it is held. Whoever comes then would lock
 * another file, and both would believe that they are alone: so a lock counts only while its file stands at its path. */
#ifndef BASE_LOCK_FILE_H
#define BASE_LOCK_FILE_H

#include <stdbool.h>
#include <sys/types.h>

/* Takes the lock (how: as for flock, LOCK_SH or LOCK_EX, with LOCK_NB or without) on the file at the path, which is
 * made with mode 0600 where it is missing. *fd: its descriptor, or -1 before the first call; a descriptor of a file
 * that stands there no longer is closed and another one opened. Where none can be opened, as when the whole directory
 * is gone, the old one is locked. Returns 0, or errno: EWOULDBLOCK when another one holds the lock. */
int lock_take(int *fd, const char *path, int how);

/* Lets go of the lock and keeps the descriptor. */
void lock_release(int fd);

/* Who holds a lock. */
struct lock_holder {
    pid_t pid;    /* 0: it is not known; there may be no /proc, or the process is in another container */
    bool stopped; /* it was stopped, as by Ctrl-Z, and goes on only when it is told to */
};

/* Finds out which process holds the exclusive lock on the file at the path. */
struct lock_holder lock_find_holder(const char *path);

/* Whether the descriptor's file stands at the path. */
bool lock_stands(int fd, const char *path);

#endif
