/* Memory-mapped files that survive a full disk. Writing to a mapped page for which the file system has no space, or
 * accessing a page beyond the end of a truncated file, raises SIGBUS, which ends the process; on copy-on-write file
 * systems this happens even after preallocation. A guarded mapping replaces the page by private memory with its
 * contents, as far as they can be read, and continues unshared. */
#ifndef BASE_MAPPING_H
#define BASE_MAPPING_H

#include <stdbool.h>
#include <stddef.h>

#define MAPPINGS_MOST 16 /* at the same time in one process */

/* Maps that many bytes of the file, shared and guarded. Takes ownership of fd, also on failure. Returns NULL with
 * errno. Installs a SIGBUS handler, which passes faults of other memory to the handler installed before, and unblocks
 * SIGBUS in this thread: no thread that uses the mapping may block it. Any thread. */
void *mapping_open(int fd, size_t bytes);

/* Whether a page was replaced by private memory: changes to it do not reach the file. */
bool mapping_is_lost(const void *at);

/* Unmaps it. No thread may use the mapping any more. */
void mapping_close(void *at);

#endif
