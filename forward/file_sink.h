/* file:// instead of a data plane: messages are appended to a file, a line each. The dry run. As RudderStack's
 * deduplication does, it leaves out a message whose messageId the file has already: the queue remembers no delivery to
 * a file, so that an event can be sent again once the file is removed. */
#ifndef FORWARD_FILE_SINK_H
#define FORWARD_FILE_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "forward/answer.h"

/* Messages of the file that are recognized: its newest, about this many. */
#define FILE_SINK_KNOWN 100000

/* All zero but for path; free with file_sink_free. One thread; several processes may share the file. */
struct file_sink {
    const char *path; /* borrowed; NULL: the source has a data plane */
    dev_t device;     /* of the file that was read, as the next two */
    ino_t inode;
    off_t read;          /* bytes of it that were looked through */
    void *newer, *older; /* messageIds: search trees (tsearch), of which the older one is given up first */
    size_t newer_count;
};

/* The path of a file:// address; NULL when it is another. Points into url. */
const char *file_sink_path(const char *url);

/* Appends lines, all or nothing, and syncs; without those whose messageId is known. The answer is as a data plane's:
 * 200 `ok`, or no answer with the reason. Without memory, and where the file cannot be read, nothing is left out. */
void file_sink_append(struct file_sink *sink, const char *lines, size_t length, struct answer *answer);

void file_sink_free(struct file_sink *sink);

#endif
