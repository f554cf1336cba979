/* Whole reads and writes, and syncs; and small private files that are replaced whole: a reader sees the old or the new
 * one, also after a power cut. Lines of `name = value`, which people can read too. */
#ifndef BASE_FILES_H
#define BASE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Writes all of it, also where a signal or a pipe cuts it in pieces. Returns false with errno. */
bool files_write_all(int fd, const void *data, size_t length);

/* Reads until the end, or until size bytes have come. Returns how many; -1 with errno. */
ssize_t files_read_all(int fd, void *data, size_t size);

/* Syncs a file, or a directory: then the names in it survive a power cut. Returns false with the reason. */
bool files_sync(const char *path, struct error *why);

#define SMALL_FILE_MOST 65536 /* bytes */
#define SMALL_PATH 4096

/* Makes parent/name with mode 0700, and syncs the parent, unless it is there. name may have several steps. Writes the
 * path to out. Returns false with the reason. */
bool small_directory(char out[static SMALL_PATH], const char *parent, const char *name, struct error *why);

/* Writes directory/name with mode 0600: to a file beside it, synced, renamed, the directory synced. Returns false with
 * the reason; then the old one stands. */
bool small_file_replace(const char *directory, const char *name, const char *text, struct error *why);

/* Reads directory/name, NUL-terminated; the caller frees (small_file_free, where it holds a secret). NULL with the
 * reason; *missing (may be NULL) tells whether there is none. */
char *small_file_read(const char *directory, const char *name, bool *missing, struct error *why);

/* Overwrites and frees it. NULL is allowed. */
void small_file_free(char *text);

/* Removes directory/name and syncs the directory. One that is not there is fine. Returns false with the reason. */
bool small_file_remove(const char *directory, const char *name, struct error *why);

/* Copies the value of a name; "" and false when there is none or it does not fit. */
bool small_value(const char *text, const char *name, char *out, size_t size);

/* The value as a number; fallback when there is none. */
int64_t small_number(const char *text, const char *name, int64_t fallback);

#endif
