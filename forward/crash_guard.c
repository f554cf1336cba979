/* The trace of what is being transformed, and the parsing and transforming under it: see pending.h. */
#include "forward/pending.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

#define DEATHS_MOST 2
#define CHANCES_MOST 5 /* more deaths, in trials alone */
#define SOURCE_BYTES 72
#define TRACES_MOST 64 /* processes of a state directory that forward at once */

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
struct crash_guard {
    int fd;
    bool settling;       /* what is current, and the file does not know it yet: a write costs about a microsecond */
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

static bool spans_overlap(const struct span *a, const struct span *b)
{
    return a->first != 0 && b->first != 0 && a->first <= b->last && b->first <= a->last &&
           strcmp(a->source, b->source) == 0;
}

static bool span_covers(const struct span *span, const char *source, uint64_t first, uint64_t last)
{
    return span->first != 0 && span->first <= first && last <= span->last && strcmp(span->source, source) == 0;
}

static bool span_is_single(const struct span *span)
{
    return span->first == span->last;
}

/* Where it cannot be written nothing is traced, and all goes on. */
static void write_trace(const struct crash_guard *guard)
{
    struct trace trace = {.current.id = guard->current.first,
                          .suspect.id = guard->suspect.first,
                          .deaths = guard->deaths,
                          .current_last = guard->current.last,
                          .suspect_last = guard->suspect.last};
    memcpy(trace.current.source, guard->current.source, SOURCE_BYTES);
    memcpy(trace.suspect.source, guard->suspect.source, SOURCE_BYTES);
    ssize_t n = pwrite(guard->fd, &trace, sizeof trace, 0);
    (void)n;
}

static void read_trace(struct crash_guard *guard)
{
    struct trace trace = {.deaths = 0};
    if (pread(guard->fd, &trace, sizeof trace, 0) < (ssize_t)offsetof(struct trace, current_last))
        return;
    guard->current = span_of(trace.current.source, trace.current.id, trace.current_last);
    guard->suspect = span_of(trace.suspect.source, trace.suspect.id, trace.suspect_last);
    guard->deaths = trace.deaths;
}

/* What still stands there was being transformed when the last process died. The guilty one of many is still to be
 * found: they are traced one by one now, and a death with one of them is the second one. */
static void judge_last_trace(struct crash_guard *guard)
{
    const struct span *last = &guard->current;
    guard->deaths = span_covers(&guard->suspect, last->source, last->first, last->last) ? guard->deaths + 1 : 1;
    guard->suspect = guard->current;
    guard->current.first = 0;
    log_write(LEVEL_WARN, "msg=died_while_transforming source=%s id=%llu last=%llu times=%u", guard->suspect.source,
              (unsigned long long)guard->suspect.first, (unsigned long long)guard->suspect.last,
              (unsigned)guard->deaths);
}

/* Several processes of a machine may forward, each other sources: each has a trace of its own, the first one that is
 * nobody's. Returns -1 when none can be had. */
static int open_trace(const char *directory)
{
    char path[4096], number[16] = "";
    for (int i = 1; i <= TRACES_MOST; i++) {
        snprintf(path, sizeof path, "%s/transforming.1%s", directory, number);
        snprintf(number, sizeof number, ".%d", i);
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
            return fd;
        close(fd);
    }
    return -1;
}

struct crash_guard *crash_guard_open(const char *directory)
{
    struct crash_guard *guard = calloc(1, sizeof *guard);
    int fd = guard == NULL ? -1 : open_trace(directory);
    if (fd < 0) {
        free(guard);
        return NULL;
    }
    guard->fd = fd;
    read_trace(guard);
    if (guard->current.first != 0)
        judge_last_trace(guard);
    write_trace(guard); /* a file that is new has its room from now on */
    return guard;
}

void crash_guard_expect(struct crash_guard *guard, const char *source, uint64_t first, uint64_t last)
{
    if (guard != NULL)
        guard->run = span_of(source, first, last);
}

void crash_guard_enter(struct crash_guard *guard, const char *source, uint64_t id)
{
    if (guard == NULL)
        return;
    bool alone = !span_covers(&guard->run, source, id, id) || spans_overlap(&guard->run, &guard->suspect);
    guard->settling = false;
    if (span_covers(&guard->current, source, id, id) && (!alone || span_is_single(&guard->current)))
        return;
    guard->current = alone ? span_of(source, id, id) : guard->run;
    write_trace(guard);
}

void crash_guard_leave(struct crash_guard *guard)
{
    if (guard != NULL)
        guard->settling = true;
}

void crash_guard_rest(struct crash_guard *guard)
{
    if (guard == NULL || !guard->settling || guard->current.first == 0)
        return;
    guard->current.first = 0;
    write_trace(guard);
}

bool crash_guard_suspects(const struct crash_guard *guard, const char *source, uint64_t id)
{
    return guard != NULL && guard->deaths >= DEATHS_MOST && span_is_single(&guard->suspect) &&
           span_covers(&guard->suspect, source, id, id);
}

void crash_guard_acquit(struct crash_guard *guard)
{
    guard->suspect.first = 0;
    guard->deaths = 0;
    write_trace(guard);
}

bool crash_guard_condemns(const struct crash_guard *guard, const char *source, uint64_t id)
{
    return crash_guard_suspects(guard, source, id) && guard->deaths >= DEATHS_MOST + CHANCES_MOST;
}

void crash_guard_blame(struct crash_guard *guard)
{
    guard->deaths++;
    write_trace(guard);
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

enum crash_guard_trial crash_guard_try(void (*act)(void *context), void *context)
{
    int status;
    pid_t waited, child = fork();
    if (child < 0)
        return TRIAL_SURVIVED;
    if (child == 0) {
        act(context);
        _exit(0);
    }
    do {
        waited = waitpid(child, &status, 0);
    } while (waited < 0 && errno == EINTR);
    if (waited != child || !WIFSIGNALED(status))
        return TRIAL_SURVIVED;
    if (WTERMSIG(status) == SIGKILL)
        return TRIAL_KILLED;
    return is_own_fault(WTERMSIG(status)) ? TRIAL_CRASHED : TRIAL_SURVIVED;
}

void crash_guard_close(struct crash_guard *guard)
{
    if (guard == NULL)
        return;
    crash_guard_rest(guard);
    close(guard->fd);
    free(guard);
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
    struct parsed *parsed = transform_parse_for(trial->event->body, trial->event->length, trial->rules, NULL, NULL);
    if (parsed != NULL && transform_message(parsed, trial->rules, false, &out) == TRANSFORM_OK)
        transform_person(parsed, trial->rules, trial->event->replay, &out);
    /* the process ends now */
}

/* An event under suspicion is tried in a child. Returns whether it may be parsed here; else why says why not, and
 * *again whether it may be tried again. While the child runs the event stands in the trace: should the kernel end both,
 * the next process knows of one death more. */
static bool passes_trial(struct crash_guard *guard, const char *source, const struct rules *rules,
                         const struct event *event, bool *again, struct error *why)
{
    struct trial trial = {event, rules};
    *again = false;
    if (crash_guard_condemns(guard, source, event->id)) {
        error_set(why,
                  "transforming it ended the program, or a trial of it alone, again and again: most likely it needs "
                  "more memory than there is; or something outside ended them with SIGKILL each time (a watchdog, "
                  "a limit, a person): then replay it");
        return false;
    }
    crash_guard_enter(guard, source, event->id);
    enum crash_guard_trial end = crash_guard_try(transform_on_trial, &trial);
    crash_guard_leave(guard);
    crash_guard_rest(guard);
    switch (end) {
    case TRIAL_SURVIVED:
        crash_guard_acquit(guard);
        return true;
    case TRIAL_KILLED:
        crash_guard_blame(guard);
        *again = true;
        error_set(why,
                  "transforming it alone was killed (SIGKILL), most likely by the kernel for want of memory, else by "
                  "something outside");
        return false;
    case TRIAL_CRASHED:
        break;
    }
    error_set(why,
              "transforming it crashed the program twice, and again when it was tried alone: please report this fault");
    return false;
}

void crash_guard_expect_events(struct crash_guard *guard, const char *source, const struct events *events)
{
    uint64_t first = UINT64_MAX, last = 0;
    for (size_t i = 0; i < events->count; i++) {
        first = events->at[i].id < first ? events->at[i].id : first;
        last = events->at[i].id > last ? events->at[i].id : last;
    }
    if (events->count > 0)
        crash_guard_expect(guard, source, first, last);
}

struct parsed *crash_guard_parse(struct crash_guard *guard, const char *source, const struct rules *rules,
                                 const struct event *event, bool *out_of_memory, struct error *why)
{
    if (crash_guard_suspects(guard, source, event->id) &&
        !passes_trial(guard, source, rules, event, out_of_memory, why))
        return NULL;
    crash_guard_enter(guard, source, event->id);
    struct parsed *parsed = transform_parse_for(event->body, event->length, rules, out_of_memory, why);
    crash_guard_leave(guard);
    return parsed;
}

enum transform_result crash_guard_transform_person(struct crash_guard *guard, const char *source,
                                                   const struct pending *pending, const struct parsed *parsed,
                                                   const struct rules *rules, struct buffer *out)
{
    if (!rules->identify && !rules->alias)
        return TRANSFORM_DROPPED;
    crash_guard_enter(guard, source, pending->id);
    enum transform_result result = transform_person(parsed, rules, pending->replay, out);
    crash_guard_leave(guard);
    return result;
}

enum transform_result crash_guard_transform(struct crash_guard *guard, const char *source, uint64_t id,
                                            struct parsed *parsed, const struct rules *rules, bool newer,
                                            struct buffer *out)
{
    crash_guard_enter(guard, source, id);
    enum transform_result result = transform_message(parsed, rules, newer, out);
    crash_guard_leave(guard);
    return result;
}
