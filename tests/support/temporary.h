/* A directory of a test's own, and files in it. As root, servers and program run as another user (see process.h): what
 * stands here belongs to that user. */
#ifndef TESTS_SUPPORT_TEMPORARY_H
#define TESTS_SUPPORT_TEMPORARY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PATH_SIZE 256

/* The user that children run as: the tester, or for root www-data, else nobody. */
struct user {
    uid_t uid;
    gid_t gid;
};
struct user user_of_children(void);

/* Makes a new directory under ${TMPDIR:-/tmp} and writes its path. Returns false when it cannot. */
bool temporary_make(char path[PATH_SIZE]);

/* From now on this process makes its directories in memory, where that can be had and has room: for suites that are not
 * about the disk, which on a slow one would wait for it most of the time. Programs cannot be executed there. */
void temporary_in_memory(void);

/* Removes it with all in it. */
void temporary_remove(const char *path);

/* Writes directory/name; a file that is there gets the new content by a rename, so that nobody sees half of it.
 * Returns false when it cannot. */
bool temporary_write(const char *directory, const char *name, mode_t mode, const char *content, size_t length);

/* Copies a file to directory/name, likewise. */
bool temporary_copy(const char *directory, const char *name, mode_t mode, const char *from);

/* Makes directory/name, a directory. */
bool temporary_directory(const char *directory, const char *name);

/* Reads a whole file, NUL-terminated; NULL when it cannot. The caller frees. */
char *temporary_read(const char *directory, const char *name);

/* Joins two parts of a path; ends the program when it does not fit. */
void path_join(char path[PATH_SIZE], const char *directory, const char *name);

#endif
