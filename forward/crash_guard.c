/* The trace of what is being transformed: see crash_guard.h. */
#include "forward/crash_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

#define DEATHS_MOST 2
#define CHANCES_MOST 5 /* more deaths, in trials alone */

struct place {
    char source[72];
    uint64_t id; /* 0: none */
};

/* What stands in the file. Its name has the layout's version. */
struct trace {
    struct place current;
    struct place suspect;
    uint32_t deaths; /* in a row, of the suspect */
};

/* Written and not mapped: a write into a mapped file kills the process where there is no room for it, on some file
 * systems even if room was taken before. The kernel's cache outlives the process, and need not be synced. */
struct crumb {
    int fd;
    bool ended; /* the current one, and the file does not know it yet: a write costs about a microsecond */
    struct trace trace;
};

static bool same(const struct place *a, const struct place *b)
{
    return a->id == b->id && strncmp(a->source, b->source, sizeof a->source) == 0;
}

/* What still stands there was being transformed when the last process died. */
static void judge_last(struct trace *trace)
{
    trace->deaths = same(&trace->current, &trace->suspect) ? trace->deaths + 1 : 1;
    trace->suspect = trace->current;
    trace->current.id = 0;
    log_write(LEVEL_WARN, "msg=died_while_transforming source=%.64s id=%llu times=%u", trace->suspect.source,
              (unsigned long long)trace->suspect.id, (unsigned)trace->deaths);
}

/* Where it cannot be written nothing is traced, and all goes on. */
static void write_trace(const struct crumb *crumb)
{
    ssize_t n = pwrite(crumb->fd, &crumb->trace, sizeof crumb->trace, 0);
    (void)n;
}

static void write_current(const struct crumb *crumb)
{
    struct place current = crumb->trace.current;
    ssize_t n = pwrite(crumb->fd, &current, sizeof current, offsetof(struct trace, current));
    (void)n;
}

struct crumb *crumb_open(const char *directory)
{
    char path[4096];
    struct crumb *crumb = calloc(1, sizeof *crumb);
    snprintf(path, sizeof path, "%s/transforming.1", directory);
    int fd = crumb == NULL ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        free(crumb);
        return NULL;
    }
    crumb->fd = fd;
    if (pread(fd, &crumb->trace, sizeof crumb->trace, 0) != (ssize_t)sizeof crumb->trace)
        memset(&crumb->trace, 0, sizeof crumb->trace);
    crumb->trace.current.source[sizeof crumb->trace.current.source - 1] = '\0';
    crumb->trace.suspect.source[sizeof crumb->trace.suspect.source - 1] = '\0';
    if (crumb->trace.current.id != 0)
        judge_last(&crumb->trace);
    write_trace(crumb); /* the whole: a file that is new has its room from now on */
    return crumb;
}

void crumb_begin(struct crumb *crumb, const char *source, uint64_t id)
{
    if (crumb == NULL)
        return;
    struct place *current = &crumb->trace.current;
    bool stands = current->id == id && strcmp(current->source, source) == 0;
    crumb->ended = false;
    if (stands)
        return;
    if (strcmp(current->source, source) != 0)
        snprintf(current->source, sizeof current->source, "%s", source);
    current->id = id;
    write_current(crumb);
}

void crumb_end(struct crumb *crumb)
{
    if (crumb != NULL)
        crumb->ended = true;
}

void crumb_rest(struct crumb *crumb)
{
    if (crumb == NULL || !crumb->ended || crumb->trace.current.id == 0)
        return;
    crumb->trace.current.id = 0;
    write_current(crumb);
}

bool crumb_suspects(const struct crumb *crumb, const char *source, uint64_t id)
{
    return crumb != NULL && crumb->trace.deaths >= DEATHS_MOST && crumb->trace.suspect.id == id &&
           strcmp(crumb->trace.suspect.source, source) == 0;
}

void crumb_acquit(struct crumb *crumb)
{
    crumb->trace.suspect.id = 0;
    crumb->trace.deaths = 0;
    write_trace(crumb);
}

bool crumb_condemns(const struct crumb *crumb, const char *source, uint64_t id)
{
    return crumb_suspects(crumb, source, id) && crumb->trace.deaths >= DEATHS_MOST + CHANCES_MOST;
}

void crumb_blame(struct crumb *crumb)
{
    crumb->trace.deaths++;
    write_trace(crumb);
}

static bool is_own_fault(int signal)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        if (signal == faults[i])
            return true;
    }
    return false;
}

enum crumb_trial crumb_try(void (*act)(void *context), void *context)
{
    int status;
    pid_t waited, child = fork();
    if (child < 0)
        return CRUMB_SURVIVED;
    if (child == 0) {
        act(context);
        _exit(0);
    }
    do {
        waited = waitpid(child, &status, 0);
    } while (waited < 0 && errno == EINTR);
    if (waited != child || !WIFSIGNALED(status))
        return CRUMB_SURVIVED;
    if (WTERMSIG(status) == SIGKILL)
        return CRUMB_KILLED;
    return is_own_fault(WTERMSIG(status)) ? CRUMB_CRASHED : CRUMB_SURVIVED;
}

void crumb_close(struct crumb *crumb)
{
    if (crumb == NULL)
        return;
    crumb_rest(crumb);
    close(crumb->fd);
    free(crumb);
}
