/* The log, to stderr or syslog: see log.h. */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/program_name.h"

#define SYSLOG_SOCKET "/dev/log"

/* ---- non-blocking datagrams to syslog ---- */

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

void log_syslog_keep(void)
{
    pthread_mutex_lock(&lock);
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

/* ---- the log ---- */

#define FOREIGN_MAX 200 /* bytes of untrusted text per line */
#define QUOTED_MAX (LOG_QUOTED - 20)

/* Set once by log_open, before threads start; only read afterwards. */
static enum log_level most_written = LEVEL_INFO;
static bool to_syslog = false;
static log_observer *observer; /* set before threads start, as observer_context */
static void *observer_context;

static const struct {
    const char *word;
    int priority;
} levels[] = {
    [LEVEL_ERROR] = {"error", LOG_ERR},
    [LEVEL_WARN] = {"warn", LOG_WARNING},
    [LEVEL_INFO] = {"info", LOG_INFO},
    [LEVEL_DEBUG] = {"debug", LOG_DEBUG},
};

/* ---- stderr: bounded writing, since the reader of a pipe may have stopped reading ----
 * A pipe that poll reports as writable has PIPE_BUF bytes free, but another process may fill it before the write; newer
 * kernels can refuse then (RWF_NOWAIT). O_NONBLOCK is no way out, since other processes that share the pipe would get
 * it too. */

#define PATIENCE_MS 100 /* for the lock, and for a slow reader */

static pthread_mutex_t stderr_lock = PTHREAD_MUTEX_INITIALIZER; /* held while writing */
static atomic_bool stderr_blocked;                              /* the last write did not succeed */
static atomic_ulong stderr_dropped;                             /* lines */
static bool stderr_is_pipe = false;                             /* set once by log_open */
static bool stderr_is_journal = false;                          /* the same: it takes the priority from "<N>" */

/* Not pthread_mutex_timedlock, which uses the settable clock. */
static bool take_stderr_lock(void)
{
    for (int i = 0; pthread_mutex_trylock(&stderr_lock) != 0; i++) {
        if (i == PATIENCE_MS || atomic_load(&stderr_blocked))
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}

static ssize_t write_at_once(const char *line, size_t length)
{
    struct iovec piece = {.iov_base = (void *)(size_t)line, .iov_len = length};
    if (stderr_is_pipe) {
        ssize_t n = pwritev2(STDERR_FILENO, &piece, 1, -1, RWF_NOWAIT);
        if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL))
            return n;
    }
    return write(STDERR_FILENO, line, length);
}

/* Returns whether the line was written. With the lock held. A short write loses only the end of a line. */
static bool put_stderr_line(const char *line, size_t length)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    ssize_t n = -1;
    if (poll(&out, 1, atomic_load(&stderr_blocked) ? 0 : PATIENCE_MS) == 1) {
        do
            n = write_at_once(line, length);
        while (n < 0 && errno == EINTR);
    }
    atomic_store(&stderr_blocked, n < 0);
    return n >= 0;
}

static void report_dropped(void)
{
    char line[80];
    unsigned long count = atomic_exchange(&stderr_dropped, 0);
    if (count == 0)
        return;
    int length =
        snprintf(line, sizeof line, "%swarn msg=log_lines_dropped count=%lu\n", stderr_is_journal ? "<4>" : "", count);
    if (!put_stderr_line(line, (size_t)length))
        atomic_fetch_add(&stderr_dropped, count);
}

/* Writes one line of at most PIPE_BUF bytes with one write. Waits at most 200 ms, and not at all while stderr is known
 * to be blocked. Dropped lines are counted, and the count is written once stderr accepts data again. Any thread. */
static void write_stderr(const char *line, size_t length)
{
    bool taken = false;
    if (take_stderr_lock()) {
        report_dropped();
        taken = put_stderr_line(line, length);
        pthread_mutex_unlock(&stderr_lock);
    }
    if (!taken)
        atomic_fetch_add(&stderr_dropped, 1);
}

/* ---- the log ---- */

#define LINE_SIZE 2048
#define MARK 3 /* bytes of "<N>" before a line of the journal */

/* Whether stderr is closed or is /dev/null. */
static bool stderr_leads_nowhere(void)
{
    struct stat err, null;
    if (fstat(STDERR_FILENO, &err) != 0)
        return true;
    return stat("/dev/null", &null) == 0 && S_ISCHR(err.st_mode) && err.st_rdev == null.st_rdev;
}

/* Whether stderr is systemd's journal: sd-daemon(3). A child whose stderr leads elsewhere inherits the variable, too.
 */
static bool stderr_leads_to_journal(const struct stat *err)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char *inode = NULL;
    return stream != NULL && strtoumax(stream, &inode, 10) == err->st_dev && *inode == ':' &&
           strtoumax(inode + 1, NULL, 10) == err->st_ino;
}

void log_open(enum log_level most)
{
    most_written = most;
    to_syslog = stderr_leads_nowhere();
    struct stat status;
    bool is_open = fstat(STDERR_FILENO, &status) == 0;
    stderr_is_pipe = is_open && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode));
    stderr_is_journal = is_open && stderr_leads_to_journal(&status);
    if (to_syslog)
        log_syslog_open(SYSLOG_SOCKET);
}

void log_observe(log_observer *given, void *context)
{
    observer = given;
    observer_context = context;
}

/* line: its text, with MARK bytes before it and one behind it that are free. */
static void put_line_of(enum log_level level, char *line, size_t length)
{
    char mark[MARK + 1];
    if (to_syslog) {
        log_syslog_write(levels[level].priority, line, length);
        return;
    }
    line[length++] = '\n';
    if (stderr_is_journal) {
        snprintf(mark, sizeof mark, "<%d>", levels[level].priority);
        line -= MARK;
        memcpy(line, mark, MARK);
        length += MARK;
    }
    write_stderr(line, length);
}

void log_write(enum log_level level, const char *format, ...)
{
    bool is_observed = observer != NULL && level <= LEVEL_WARN;
    if (level > most_written && !is_observed)
        return;
    char text[MARK + LINE_SIZE], *line = text + MARK;
    int head = snprintf(line, LINE_SIZE, "%s ", levels[level].word);
    va_list args;
    va_start(args, format);
    int rest = vsnprintf(line + head, LINE_SIZE - (size_t)head - 1, format, args);
    va_end(args);
    size_t length = rest < 0 ? (size_t)head : (size_t)head + (size_t)rest;
    if (length > LINE_SIZE - 2)
        length = LINE_SIZE - 2;
    line[length] = '\0';
    if (strstr(line, PROGRAM_NAME " ") != NULL) { /* advice, which names the program as it can be typed */
        char named[LINE_SIZE];
        program_name_put(line, named, sizeof named - 1);
        length = strlen(named);
        memcpy(line, named, length + 1);
    }
    bool is_taken = is_observed && observer(observer_context, level, line, length);
    if (!is_taken && level <= most_written)
        put_line_of(level, line, length);
}

/* Takes so many bytes of the text at most, and not more than have room. */
static const char *quote(char out[static LOG_QUOTED], const char *text, size_t length, size_t most)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0, i = 0;
    out[n++] = '"';
    for (; i < length && i < most && n + 4 <= QUOTED_MAX + 1; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c < 0x7f && c != '\\') {
            out[n++] = c == '"' ? '\'' : (char)c;
            continue;
        }
        out[n++] = '\\';
        out[n++] = 'x';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    out[n++] = '"';
    memcpy(out + n, i < length ? "..." : "", i < length ? 4 : 1);
    return out;
}

const char *log_quote(char out[static LOG_QUOTED], const char *text, size_t length)
{
    return quote(out, text, length, FOREIGN_MAX);
}

const char *log_quote_reason(char out[static LOG_QUOTED], const char *text)
{
    return quote(out, text, strlen(text), QUOTED_MAX);
}
