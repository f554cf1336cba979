/* Lines to the system's log that nobody has to wait for: syslog(3) waits when the daemon does not take them. */
#ifndef BASE_LOG_SYSLOG_H
#define BASE_LOG_SYSLOG_H

#include <stddef.h>

#define SYSLOG_SOCKET "/dev/log"

/* Connects to the daemon's socket at that path, which must stay. Again after a fork that closed all descriptors. */
void log_syslog_open(const char *path);

/* Lets go of the socket: its descriptor is about to become another file's. */
void log_syslog_close(void);

/* Sends one line of that priority (LOG_ERR). What cannot be sent at once is counted, and the count is sent once
 * something can be. Any thread. */
void log_syslog_write(int priority, const char *line, size_t length);

#endif
