/* The log, to stderr or syslog: see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "base/log_stream.h"
#include "base/log_syslog.h"

#define FOREIGN_MAX 200 /* bytes of untrusted text per line */

/* Set once by log_open, before threads start; only read afterwards. */
static enum log_level most_written = LEVEL_INFO;
static bool to_syslog = false;

static const struct {
    const char *word;
    int priority;
} levels[] = {
    [LEVEL_ERROR] = {"error", LOG_ERR},
    [LEVEL_WARN] = {"warn", LOG_WARNING},
    [LEVEL_INFO] = {"info", LOG_INFO},
    [LEVEL_DEBUG] = {"debug", LOG_DEBUG},
};

/* Whether stderr is closed or is /dev/null. */
static bool stderr_leads_nowhere(void)
{
    struct stat err, null;
    if (fstat(STDERR_FILENO, &err) != 0)
        return true;
    return stat("/dev/null", &null) == 0 && S_ISCHR(err.st_mode) && err.st_rdev == null.st_rdev;
}

void log_open(enum log_level most)
{
    most_written = most;
    to_syslog = stderr_leads_nowhere();
    log_stream_open();
    if (to_syslog)
        log_syslog_open(SYSLOG_SOCKET);
}

void log_write(enum log_level level, const char *format, ...)
{
    if (level > most_written)
        return;
    char line[2048];
    int head = snprintf(line, sizeof line, "%s ", levels[level].word);
    va_list args;
    va_start(args, format);
    int rest = vsnprintf(line + head, sizeof line - (size_t)head - 1, format, args);
    va_end(args);
    size_t length = rest < 0 ? (size_t)head : (size_t)head + (size_t)rest;
    if (length > sizeof line - 2)
        length = sizeof line - 2;
    if (to_syslog) {
        log_syslog_write(levels[level].priority, line, length);
        return;
    }
    line[length] = '\n';
    log_stream_write(line, length + 1);
}

const char *log_quote(char out[static LOG_QUOTED], const char *text, size_t length)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;
    bool cut = length > FOREIGN_MAX;
    if (cut)
        length = FOREIGN_MAX;
    out[n++] = '"';
    for (size_t i = 0; i < length; i++) {
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
    memcpy(out + n, cut ? "..." : "", cut ? 4 : 1);
    return out;
}
