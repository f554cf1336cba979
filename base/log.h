/* The log: one line per event, `level key=value ...`, to stderr, which is the web server's error log, or to syslog when
 * stderr is /dev/null (spawn-fcgi without -n). systemd's journal gets each line's priority besides. Lines contain ids
 * and counts, never payloads or secrets. Any thread may call; each line is one write. When nothing reads stderr, lines
 * are dropped instead of blocking, and their number is logged later. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level { LEVEL_ERROR, LEVEL_WARN, LEVEL_INFO, LEVEL_DEBUG };

/* Chooses stderr or syslog, and the least important level to write. Call before threads start; without it: stderr,
 * info. */
void log_open(enum log_level most);

/* Writes one line. format produces `key=value` pairs; untrusted text must go through log_quote first. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Is given each line of the levels error and warn, without its line end, also those that are not important enough to be
 * written. Any thread; it must not log, and not wait. Returns whether it has taken the line, which is not written
 * then. */
typedef bool log_observer(void *context, enum log_level level, const char *line, size_t length);

/* Sets the only observer; NULL: none. Call before threads start, or while none logs. */
void log_observe(log_observer *observer, void *context);

/* Bytes for the output of log_quote and log_quote_reason. */
#define LOG_QUOTED 1060

/* Quotes untrusted text for the log: truncated at 200 bytes, in double quotes, with inner double quotes as single ones
 * and control characters, backslashes and non-ASCII bytes as \xNN. Returns out, NUL-terminated. */
const char *log_quote(char out[static LOG_QUOTED], const char *text, size_t length);

/* Quotes likewise a sentence of ours, which may hold untrusted text that was cut already: whole, unless it has more
 * than 1040 bytes when it is quoted, for what it advises stands at its end. text: NUL-terminated. */
const char *log_quote_reason(char out[static LOG_QUOTED], const char *text);

/* ---- Non-blocking syslog: syslog(3) blocks when the daemon does not read. ---- */

/* Connects to the daemon's socket at that path, which is borrowed for good. Call again after a fork that closed all
 * descriptors. */
void log_syslog_open(const char *path);

/* Connects again if the daemon was restarted: for threads that may not (process/confine.h). Call it now and then. Does
 * nothing before log_syslog_open. */
void log_syslog_keep(void);

/* Closes the socket, before its descriptor number is reused. */
void log_syslog_close(void);

/* Sends one line with a priority (LOG_ERR). Lines that cannot be sent at once are dropped and counted, and the count is
 * sent later. Any thread. */
void log_syslog_write(int priority, const char *line, size_t length);

#endif
