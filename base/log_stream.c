/* Bounded writing to stderr: see log_stream.h. A pipe that poll reports as writable has PIPE_BUF bytes free, but
 * another process may fill it before the write; newer kernels can refuse then (RWF_NOWAIT). O_NONBLOCK is no way out,
 * since other processes that share the pipe would get it too. */
#include "base/log_stream.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PATIENCE_MS 100 /* for the lock, and for a slow reader */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* held while writing */
static atomic_bool blocked;                              /* the last write did not succeed */
static atomic_ulong dropped;                             /* lines */
static bool is_pipe = false;                             /* set once by log_stream_open */

void log_stream_open(void)
{
    struct stat status;
    is_pipe = fstat(STDERR_FILENO, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode));
}

/* Not pthread_mutex_timedlock, which uses the settable clock. */
static bool take_lock(void)
{
    for (int i = 0; pthread_mutex_trylock(&lock) != 0; i++) {
        if (i == PATIENCE_MS || atomic_load(&blocked))
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}

static ssize_t write_at_once(const char *line, size_t length)
{
    struct iovec piece = {.iov_base = (void *)(size_t)line, .iov_len = length};
    if (is_pipe) {
        ssize_t n = pwritev2(STDERR_FILENO, &piece, 1, -1, RWF_NOWAIT);
        if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL))
            return n;
    }
    return write(STDERR_FILENO, line, length);
}

/* Returns whether the line was written. With the lock held. A short write loses only the end of a line. */
static bool put_line(const char *line, size_t length)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    ssize_t n = -1;
    if (poll(&out, 1, atomic_load(&blocked) ? 0 : PATIENCE_MS) == 1) {
        do
            n = write_at_once(line, length);
        while (n < 0 && errno == EINTR);
    }
    atomic_store(&blocked, n < 0);
    return n >= 0;
}

static void say_dropped(void)
{
    char line[80];
    unsigned long count = atomic_exchange(&dropped, 0);
    if (count == 0)
        return;
    int length = snprintf(line, sizeof line, "warn msg=log_lines_dropped count=%lu\n", count);
    if (!put_line(line, (size_t)length))
        atomic_fetch_add(&dropped, count);
}

void log_stream_write(const char *line, size_t length)
{
    bool taken = false;
    if (take_lock()) {
        say_dropped();
        taken = put_line(line, length);
        pthread_mutex_unlock(&lock);
    }
    if (!taken)
        atomic_fetch_add(&dropped, 1);
}
