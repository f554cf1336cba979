/* The log: one line per happening, `level key=value ...`, to stderr, which is the web server's error log. Where stderr
 * leads to /dev/null (spawn-fcgi without -n), the lines go to syslog instead. Ids and counts, never payloads or
 * secrets. Any thread may call; a line is one write. Nobody waits for a stderr that nobody reads: lines are dropped
 * then, and their number is said later (log_stream.h). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stddef.h>

enum log_level { LEVEL_ERROR, LEVEL_WARN, LEVEL_INFO, LEVEL_DEBUG };

/* Where the lines go, and from which level on they are written. Call before threads start; without it: stderr, info. */
void log_open(enum log_level most);

/* Writes one line. format makes `key=value` pairs; text that came from outside goes through log_quote first. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Enough for what log_quote makes of the 200 bytes that the log takes of foreign words. */
#define LOG_QUOTED 820

/* Makes foreign text fit for the log: in double quotes, cut at 200 bytes, double quotes in it as single ones, control
 * characters, backslashes and everything beyond ASCII as \xNN. Returns out, NUL-terminated. */
const char *log_quote(char out[static LOG_QUOTED], const char *text, size_t length);

#endif
