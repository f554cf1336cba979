/* file:// instead of a data plane: messages are appended to a file, a line each. The dry run. */
#ifndef FORWARD_FILE_SINK_H
#define FORWARD_FILE_SINK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "forward/answer.h"

/* The path of a file:// address; NULL when it is another. Points into url. */
const char *file_sink_path(const char *url);

/* Appends all or nothing, and syncs. The answer is as a data plane's: 200 `ok`, or no answer with the reason. */
void file_sink_append(const char *path, const char *data, size_t length, struct answer *answer);

#endif
