/* The last errors in a file, for who cannot read the log: one line a reason, with how often and when last; refused
 * requests in a part of their own. The lines are the log's, so nothing stands there that may not stand in the log.
 * Lines are noted in memory, which waits for nothing; last_errors_flush merges them into the file, which all processes
 * share: under a lock, replaced whole and durably, at most once a second. Any thread, one file a process. */
#ifndef BASE_LAST_ERRORS_H
#define BASE_LAST_ERRORS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/log.h"

#define LAST_ERRORS_FILE "last-errors.txt"
#define LAST_ERRORS_MAX 65536 /* bytes of the file */
#define LAST_ERRORS_PLACES 2

/* Sets the folders for the file: the first one is taken in which it can be written. Only folders of this process's user
 * are used. Copied. count 0: nothing is kept, and what was noted is forgotten. */
void last_errors_open(const char *const *places, size_t count);

/* Whether there is a folder. */
bool last_errors_is_kept(void);

/* Takes the folder from those that are used, and removes the file from it. */
void last_errors_leave(const char *place);

/* A log_observer: notes a line; takes none. */
bool last_errors_note(void *context, enum log_level level, const char *line, size_t length);

/* Writes what was noted; what was written into another folder while the first one could not be is taken over into that.
 * Waits for the disk, at most a moment for other processes. What could not be written, or not so
 * soon, stays noted. is_last: the process ends: it is written although the last time was a moment ago, unless another
 * process wrote within the second. */
void last_errors_flush(bool is_last);

/* Reads the file of a folder, NUL-terminated; the caller frees it. NULL: there is none. */
char *last_errors_read(const char *place);

#endif
