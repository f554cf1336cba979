/* Writing lines to stderr without blocking for long: the reader of a pipe may have stopped reading. */
#ifndef BASE_LOG_STREAM_H
#define BASE_LOG_STREAM_H

#include <stddef.h>

/* Finds out whether stderr is a pipe. Call before threads start. */
void log_stream_open(void);

/* Writes one line of at most PIPE_BUF bytes with one write. Waits at most 200 ms, and not at all while stderr is known
 * to be blocked. Dropped lines are counted, and the count is written once stderr accepts data again. Any thread. */
void log_stream_write(const char *line, size_t length);

#endif
