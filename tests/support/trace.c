/* Reading strace's record: a call that others interrupt stands in two lines, unfinished and resumed. */
#include "tests/support/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/temporary.h"

#define UNFINISHED " <unfinished ...>"
#define RESUMED " resumed>"

const char *const *trace_wrapper(const char *file)
{
    /* -s: a page of the database and more */
    static const char *words[16] = {
        "/usr/bin/strace",
        "-f",
        "-y",
        "-qq",
        "-s",
        "20000",
        "-e",
        "signal=none",
        "-e",
        "trace=openat,mkdir,read,write,writev,sendto,pwrite64,ftruncate,fsync,fdatasync,close,rename,renameat2,link,"
        "linkat,unlink,rmdir",
        "-E",
        "ASAN_OPTIONS=detect_leaks=0", /* it cannot be done under ptrace */
        "-o"};
    words[13] = file;
    words[14] = "--";
    words[15] = NULL;
    return words;
}

static bool starts(struct slice slice, const char *text)
{
    size_t length = strlen(text);
    return slice.length >= length && memcmp(slice.at, text, length) == 0;
}

static struct slice cut(struct slice slice, size_t from, size_t to)
{
    return (struct slice){slice.at + from, to - from};
}

/* The last place of the text, or the slice's length. */
static size_t find_last(struct slice slice, const char *text)
{
    size_t length = strlen(text);
    for (size_t at = slice.length >= length ? slice.length - length + 1 : 0; at > 0; at--) {
        if (memcmp(slice.at + at - 1, text, length) == 0)
            return at - 1;
    }
    return slice.length;
}

/* "9</path>, ..." */
static void read_descriptor(struct trace_call *call)
{
    char *end = NULL;
    long fd = call->arguments.length == 0 ? -1 : strtol(call->arguments.at, &end, 10);
    call->fd = -1;
    if (fd < 0 || end == call->arguments.at || *end != '<')
        return;
    const char *close = memchr(end, '>', call->arguments.length - (size_t)(end - call->arguments.at));
    call->fd = (int)fd;
    if (close != NULL)
        call->path = (struct slice){end + 1, (size_t)(close - end - 1)};
}

static void read_result(struct trace_call *call, struct slice rest, size_t line)
{
    size_t equals = find_last(rest, " = ");
    call->end = line;
    call->returned = rest;
    call->result = equals < rest.length ? strtol(rest.at + equals + 3, NULL, 10) : -1;
}

static struct trace_call *add(struct trace *trace)
{
    if (trace->count == trace->capacity) {
        trace->capacity = trace->capacity == 0 ? 4096 : trace->capacity * 2;
        trace->calls = reallocarray(trace->calls, trace->capacity, sizeof *trace->calls);
        if (trace->calls == NULL)
            abort();
    }
    return memset(&trace->calls[trace->count++], 0, sizeof *trace->calls);
}

/* The thread's call that has not returned. */
static struct trace_call *open_call(struct trace *trace, pid_t thread)
{
    for (size_t i = trace->count; i > 0; i--) {
        if (trace->calls[i - 1].thread == thread)
            return trace->calls[i - 1].end == 0 ? &trace->calls[i - 1] : NULL;
    }
    return NULL;
}

static void read_line(struct trace *trace, struct slice line, size_t number)
{
    char *end;
    pid_t thread = (pid_t)strtol(line.at, &end, 10);
    while (*end == ' ')
        end++;
    struct slice text = cut(line, (size_t)(end - line.at), line.length);
    if (starts(text, "<... ")) {
        struct trace_call *call = open_call(trace, thread);
        const char *after = memmem(text.at, text.length, RESUMED, strlen(RESUMED));
        if (call != NULL && after != NULL)
            read_result(call, cut(text, (size_t)(after - text.at) + strlen(RESUMED), text.length), number);
        return;
    }
    const char *bracket = memchr(text.at, '(', text.length);
    if (thread <= 0 || bracket == NULL || *text.at < 'a' || *text.at > 'z')
        return; /* the end of a process, and the like */
    struct trace_call *call = add(trace);
    size_t opened = (size_t)(bracket - text.at) + 1;
    call->thread = thread;
    call->name = cut(text, 0, opened - 1);
    call->begin = number;
    size_t unfinished = find_last(text, UNFINISHED);
    if (unfinished + strlen(UNFINISHED) == text.length) {
        call->arguments = cut(text, opened, unfinished);
    } else {
        size_t closed = find_last(text, ") ");
        call->arguments = cut(text, opened, closed < opened ? opened : closed);
        read_result(call, cut(text, closed, text.length), number);
    }
    read_descriptor(call);
}

bool trace_read(struct trace *trace, const char *directory, const char *name)
{
    *trace = (struct trace){.text = temporary_read(directory, name)};
    if (trace->text == NULL)
        return false;
    size_t number = 1;
    for (char *at = trace->text; *at != '\0'; number++) {
        size_t length = strcspn(at, "\n");
        bool last = at[length] == '\0';
        at[length] = '\0'; /* strtol must not go on into the next line */
        read_line(trace, (struct slice){at, length}, number);
        at += length + !last;
    }
    return trace->count > 0;
}

void trace_free(struct trace *trace)
{
    free(trace->calls);
    free(trace->text);
    *trace = (struct trace){.text = NULL};
}

bool trace_is(const struct trace_call *call, const char *name)
{
    return slice_equal(call->name, slice_of(name));
}

bool trace_is_at(const struct trace_call *call, const char *path)
{
    return call->path.at != NULL && slice_equal(call->path, slice_of(path));
}

bool trace_is_sync(const struct trace_call *call, const char *path)
{
    return (trace_is(call, "fsync") || trace_is(call, "fdatasync")) && call->end > 0 && call->result == 0 &&
           trace_is_at(call, path);
}

bool trace_has(const struct trace_call *call, const char *text)
{
    return slice_contains(call->arguments, text) || (call->returned.at != NULL && slice_contains(call->returned, text));
}
