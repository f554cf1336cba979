/* Non-blocking datagrams to syslog: see log_syslog.h. */
#include "base/log_syslog.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define MOST 2300 /* bytes of a line with its header */

static pthread_mutex_t lock =
    PTHREAD_MUTEX_INITIALIZER; /* protects the variables below; never held during a blocking call */
static const char *socket_path;
static int descriptor = -1;
static unsigned long dropped; /* lines */

static void disconnect(void)
{
    if (descriptor >= 0)
        close(descriptor);
    descriptor = -1;
}

static bool is_connected(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (descriptor >= 0)
        return true;
    if (socket_path == NULL || strlen(socket_path) >= sizeof address.sun_path)
        return false;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor >= 0 && connect(descriptor, (const struct sockaddr *)&address, sizeof address) == 0)
        return true;
    disconnect();
    return false;
}

void log_syslog_open(const char *path)
{
    pthread_mutex_lock(&lock);
    disconnect();
    socket_path = path;
    is_connected();
    pthread_mutex_unlock(&lock);
}

void log_syslog_close(void)
{
    pthread_mutex_lock(&lock);
    disconnect();
    pthread_mutex_unlock(&lock);
}

/* With the lock held. A restarted daemon has a new socket, so a failed send is retried once on it. */
static bool put_datagram(const char *text, size_t length)
{
    for (int tries = 0; tries < 2 && is_connected(); tries++) {
        if (send(descriptor, text, length, MSG_NOSIGNAL) >= 0)
            return true;
        if (errno == EAGAIN)
            return false;
        disconnect();
    }
    return false;
}

/* In the format of syslog(3), which daemons expect. */
static bool put_line(int priority, const char *line, size_t length)
{
    char text[MOST], date[32] = "";
    time_t now = time(NULL);
    struct tm tm;
    if (localtime_r(&now, &tm) != NULL)
        strftime(date, sizeof date, "%h %e %T", &tm);
    int n = snprintf(text, sizeof text, "<%d>%s closecrm.fcgi[%ld]: %.*s", LOG_DAEMON | priority, date, (long)getpid(),
                     (int)length, line);
    return n > 0 && put_datagram(text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

void log_syslog_write(int priority, const char *line, size_t length)
{
    char words[64];
    pthread_mutex_lock(&lock);
    if (dropped > 0) {
        int n = snprintf(words, sizeof words, "warn msg=log_lines_dropped count=%lu", dropped);
        if (put_line(LOG_WARNING, words, (size_t)n))
            dropped = 0;
    }
    if (!put_line(priority, line, length))
        dropped++;
    pthread_mutex_unlock(&lock);
}
