/* Non-blocking syslog: syslog(3) blocks when the daemon does not read. */
#ifndef BASE_LOG_SYSLOG_H
#define BASE_LOG_SYSLOG_H

#include <stddef.h>

#define SYSLOG_SOCKET "/dev/log"

/* Connects to the daemon's socket at that path, which is borrowed for good. Call again after a fork that closed all
 * descriptors. */
void log_syslog_open(const char *path);

/* Closes the socket, before its descriptor number is reused. */
void log_syslog_close(void);

/* Sends one line with a priority (LOG_ERR). Lines that cannot be sent at once are dropped and counted, and the count is
 * sent later. Any thread. */
void log_syslog_write(int priority, const char *line, size_t length);

#endif
