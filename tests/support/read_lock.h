/* The kernel's list of file locks. */
#ifndef TESTS_SUPPORT_READ_LOCK_H
#define TESTS_SUPPORT_READ_LOCK_H

#include <stdbool.h>
#include <sys/types.h>

/* Whether a process has a read lock (fcntl's) on a file. */
bool read_lock_is_held(pid_t pid, const char *path);

#endif
