/* Detects that the configuration or the program's file has changed since the process started. A change is reported once
 * the file has stood unchanged for a while: it may be half uploaded. One thread. */
#ifndef PROCESS_FILE_CHANGES_H
#define PROCESS_FILE_CHANGES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"

struct file_changes;

/* Remembers the files as they are now. Paths are copied; NULL ones are skipped. settle_ms: how long a change must have
 * stood. Returns NULL when memory is out. */
struct file_changes *file_changes_new(const char *const *paths, size_t count, int64_t settle_ms);

/* Looks at the files. Returns true once for each change: when a file differs from its remembered state, and no file has
 * changed for settle_ms; the files are then remembered as they are. A missing file is no change: an upload replaces it.
 */
bool file_changes_look(struct file_changes *changes, moment now);

void file_changes_free(struct file_changes *changes);

#endif
