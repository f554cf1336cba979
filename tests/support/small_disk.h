/* A small disk of a test's own: a tmpfs in a mount namespace that only the calling thread, the threads and children it
 * starts from then on share. It goes with them. */
#ifndef TESTS_SUPPORT_SMALL_DISK_H
#define TESTS_SUPPORT_SMALL_DISK_H

#include <stdbool.h>

/* Mounts one of that size ("24m") at the path, for the children's user. Returns false, and says so, where that is not
 * allowed: to others than root, and in some containers. */
bool small_disk_mount(const char *path, const char *size);

/* Fills what is left with a file of that name. */
void small_disk_fill(const char *path, const char *name);

void small_disk_unmount(const char *path);

#endif
