/* A mapped file that may lose its room. A write into a mapped page for which the file system has no room, or an access
 * beyond the end of a file that was cut, is a SIGBUS, which ends the process; on file systems that copy on write that
 * happens whatever was allocated before. A guarded mapping gets memory of this process in the page's place instead,
 * with what stood there as far as it can be read, and goes on unshared. */
#ifndef BASE_MAPPING_H
#define BASE_MAPPING_H

#include <stdbool.h>
#include <stddef.h>

#define MAPPINGS_MOST 16 /* in a process at a time */

/* Maps so many bytes of the file, shared, and guards them. Takes over fd, also when it fails. Returns NULL, with errno,
 * when it cannot. Installs a handler for SIGBUS, which leaves all that is about other memory to whoever was installed
 * before, and unblocks it in this thread: no thread that uses the mapping may block it. Any thread. */
void *mapping_open(int fd, size_t bytes);

/* Whether a page of it was lost. */
bool mapping_is_lost(const void *at);

/* Nobody may use it any more. */
void mapping_close(void *at);

#endif
