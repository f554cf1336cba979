/* The trace of what is being transformed, and the parsing and transforming under it: see crash_guard.h. */
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
#define SOURCE_BYTES 72

/* What stands in the file. Its name has the layout's version, and that of the release before ends before current_last:
 * it knows single events only. */
struct trace {
    struct {
        char source[SOURCE_BYTES];
        uint64_t id; /* 0: none */
    } current, suspect;
    uint32_t deaths; /* in a row, of the suspect */
    uint32_t unused;
    uint64_t current_last, suspect_last; /* below id: there is one event only */
};

/* Events of a source, from one id to another. */
struct span {
    char source[SOURCE_BYTES];
    uint64_t first; /* 0: none */
    uint64_t last;
};

/* Written and not mapped: a write into a mapped file kills the process where there is no room for it, on some file
 * systems even if room was taken before. The kernel's cache outlives the process, and need not be synced. */
struct crumb {
    int fd;
    bool ended;          /* what is current, and the file does not know it yet: a write costs about a microsecond */
    struct span run;     /* what was said to follow */
    struct span current; /* as it stands in the file */
    struct span suspect;
    uint32_t deaths;
};

static struct span span_of(const char *source, uint64_t first, uint64_t last)
{
    struct span span = {.first = first, .last = last < first ? first : last};
    snprintf(span.source, sizeof span.source, "%.*s", SOURCE_BYTES - 1, source);
    return span;
}

static bool overlap(const struct span *a, const struct span *b)
{
    return a->first != 0 && b->first != 0 && a->first <= b->last && b->first <= a->last &&
           strcmp(a->source, b->source) == 0;
}

static bool covers(const struct span *span, const char *source, uint64_t first, uint64_t last)
{
    return span->first != 0 && span->first <= first && last <= span->last && strcmp(span->source, source) == 0;
}

static bool is_single(const struct span *span)
{
    return span->first == span->last;
}

/* Where it cannot be written nothing is traced, and all goes on. */
static void write_trace(const struct crumb *crumb)
{
    struct trace trace = {.current.id = crumb->current.first,
                          .suspect.id = crumb->suspect.first,
                          .deaths = crumb->deaths,
                          .current_last = crumb->current.last,
                          .suspect_last = crumb->suspect.last};
    memcpy(trace.current.source, crumb->current.source, SOURCE_BYTES);
    memcpy(trace.suspect.source, crumb->suspect.source, SOURCE_BYTES);
    ssize_t n = pwrite(crumb->fd, &trace, sizeof trace, 0);
    (void)n;
}

static void read_trace(struct crumb *crumb)
{
    struct trace trace = {.deaths = 0};
    if (pread(crumb->fd, &trace, sizeof trace, 0) < (ssize_t)offsetof(struct trace, current_last))
        return;
    crumb->current = span_of(trace.current.source, trace.current.id, trace.current_last);
    crumb->suspect = span_of(trace.suspect.source, trace.suspect.id, trace.suspect_last);
    crumb->deaths = trace.deaths;
}

/* What still stands there was being transformed when the last process died. The guilty one of many is still to be
 * found: they are traced one by one now, and a death with one of them is the second one. */
static void judge_last(struct crumb *crumb)
{
    const struct span *last = &crumb->current;
    crumb->deaths = covers(&crumb->suspect, last->source, last->first, last->last) ? crumb->deaths + 1 : 1;
    crumb->suspect = crumb->current;
    crumb->current.first = 0;
    log_write(LEVEL_WARN, "msg=died_while_transforming source=%s id=%llu last=%llu times=%u", crumb->suspect.source,
              (unsigned long long)crumb->suspect.first, (unsigned long long)crumb->suspect.last,
              (unsigned)crumb->deaths);
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
    read_trace(crumb);
    if (crumb->current.first != 0)
        judge_last(crumb);
    write_trace(crumb); /* a file that is new has its room from now on */
    return crumb;
}

void crumb_expect(struct crumb *crumb, const char *source, uint64_t first, uint64_t last)
{
    if (crumb != NULL)
        crumb->run = span_of(source, first, last);
}

void crumb_begin(struct crumb *crumb, const char *source, uint64_t id)
{
    if (crumb == NULL)
        return;
    bool alone = !covers(&crumb->run, source, id, id) || overlap(&crumb->run, &crumb->suspect);
    crumb->ended = false;
    if (covers(&crumb->current, source, id, id) && (!alone || is_single(&crumb->current)))
        return;
    crumb->current = alone ? span_of(source, id, id) : crumb->run;
    write_trace(crumb);
}

void crumb_end(struct crumb *crumb)
{
    if (crumb != NULL)
        crumb->ended = true;
}

void crumb_rest(struct crumb *crumb)
{
    if (crumb == NULL || !crumb->ended || crumb->current.first == 0)
        return;
    crumb->current.first = 0;
    write_trace(crumb);
}

bool crumb_suspects(const struct crumb *crumb, const char *source, uint64_t id)
{
    return crumb != NULL && crumb->deaths >= DEATHS_MOST && is_single(&crumb->suspect) &&
           covers(&crumb->suspect, source, id, id);
}

void crumb_acquit(struct crumb *crumb)
{
    crumb->suspect.first = 0;
    crumb->deaths = 0;
    write_trace(crumb);
}

bool crumb_condemns(const struct crumb *crumb, const char *source, uint64_t id)
{
    return crumb_suspects(crumb, source, id) && crumb->deaths >= DEATHS_MOST + CHANCES_MOST;
}

void crumb_blame(struct crumb *crumb)
{
    crumb->deaths++;
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

/* ---- parsing and transforming under the trace ---- */

/* What a child parses and transforms on trial. */
struct trial {
    const struct event *event;
    const struct rules *rules;
};

static void transform_on_trial(void *context)
{
    const struct trial *trial = context;
    struct buffer out = {0};
    struct parsed *parsed = transform_parse(trial->event->body, trial->event->length, NULL, NULL);
    if (parsed != NULL)
        transform_message(parsed, trial->rules, false, &out);
    /* the process ends now */
}

/* An event under suspicion is tried in a child. Returns whether it may be parsed here; else why says why not, and
 * *again whether it may be tried again. While the child runs the event stands in the trace: should the kernel end both,
 * the next process knows of one death more. */
static bool passes_trial(struct crumb *crumb, const char *source, const struct rules *rules, const struct event *event,
                         bool *again, struct error *why)
{
    struct trial trial = {event, rules};
    *again = false;
    if (crumb_condemns(crumb, source, event->id)) {
        error_set(why,
                  "transforming it ended the program, or a trial of it alone, again and again: most likely it needs "
                  "more memory than there is; or something outside ended them with SIGKILL each time (a watchdog, "
                  "a limit, a person): then replay it");
        return false;
    }
    crumb_begin(crumb, source, event->id);
    enum crumb_trial end = crumb_try(transform_on_trial, &trial);
    crumb_end(crumb);
    crumb_rest(crumb);
    switch (end) {
    case CRUMB_SURVIVED:
        crumb_acquit(crumb);
        return true;
    case CRUMB_KILLED:
        crumb_blame(crumb);
        *again = true;
        error_set(why,
                  "transforming it alone was killed (SIGKILL), most likely by the kernel for want of memory, else by "
                  "something outside");
        return false;
    case CRUMB_CRASHED:
        break;
    }
    error_set(why,
              "transforming it crashed the program twice, and again when it was tried alone: please report this fault");
    return false;
}

void crumb_expect_events(struct crumb *crumb, const char *source, const struct events *events)
{
    uint64_t first = UINT64_MAX, last = 0;
    for (size_t i = 0; i < events->count; i++) {
        first = events->at[i].id < first ? events->at[i].id : first;
        last = events->at[i].id > last ? events->at[i].id : last;
    }
    if (events->count > 0)
        crumb_expect(crumb, source, first, last);
}

struct parsed *crumb_parse(struct crumb *crumb, const char *source, const struct rules *rules,
                           const struct event *event, bool *out_of_memory, struct error *why)
{
    if (crumb_suspects(crumb, source, event->id) && !passes_trial(crumb, source, rules, event, out_of_memory, why))
        return NULL;
    crumb_begin(crumb, source, event->id);
    struct parsed *parsed = transform_parse(event->body, event->length, out_of_memory, why);
    crumb_end(crumb);
    return parsed;
}

enum transform_result crumb_transform(struct crumb *crumb, const char *source, uint64_t id, struct parsed *parsed,
                                      const struct rules *rules, bool newer, struct buffer *out)
{
    crumb_begin(crumb, source, id);
    enum transform_result result = transform_message(parsed, rules, newer, out);
    crumb_end(crumb);
    return result;
}
