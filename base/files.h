/* Complete reads and writes, fsync, and small private files that are replaced atomically: a reader sees the old or the
 * new content, also after a power loss. Their format is lines of `name = value`, readable by people. */
#ifndef BASE_FILES_H
#define BASE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

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

/* Creates the directory parent/name with mode 0700, if missing, and syncs the parent. name may have several components.
 * Writes the path to out. Returns false with the reason. */
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

#endif
