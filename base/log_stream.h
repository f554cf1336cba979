/* Lines to stderr that nobody has to wait for: who reads a pipe's other end may have stopped reading. */
#ifndef BASE_LOG_STREAM_H
#define BASE_LOG_STREAM_H

#include <stddef.h>

/* Looks what stderr is. Call before threads start. */
void log_stream_open(void);

/* Writes one line, PIPE_BUF bytes at most, as one write. Waits a fifth of a second at most; while stderr takes nothing
 * not even that. Lines that it does not take are counted, and the count is written once it takes some again. Any
 * thread. */
void log_stream_write(const char *line, size_t length);

#endif
