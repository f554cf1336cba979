/* What a program asked of the kernel, and in which order: strace's record, read. */
#ifndef TESTS_SUPPORT_TRACE_H
#define TESTS_SUPPORT_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "tests/support/slice.h"

/* One call. Positions are lines of the record: what begins behind another's end began after it. */
struct trace_call {
    pid_t thread;
    struct slice name;      /* pwrite64 */
    struct slice arguments; /* up to the closing bracket or to where the call was interrupted; strings escaped */
    struct slice returned;  /* what it gave back after that, and the result */
    size_t begin;
    size_t end;        /* 0: it had not returned */
    long result;       /* -1: an error */
    int fd;            /* the first argument, where it is a descriptor; else -1 */
    struct slice path; /* of that descriptor; none */
};

struct trace {
    char *text;
    struct trace_call *calls; /* in the order of their beginnings */
    size_t count;
    size_t capacity;
};

/* The words before a program's path by which strace records into a file what matters to durability; static storage. */
const char *const *trace_wrapper(const char *file);

/* Reads the record. Returns false when it cannot be read. Free with trace_free. */
bool trace_read(struct trace *trace, const char *directory, const char *name);
void trace_free(struct trace *trace);

/* Is it a call of that name? */
bool trace_is(const struct trace_call *call, const char *name);

/* Is it a successful fsync or fdatasync of what lies at that path? */
bool trace_is_sync(const struct trace_call *call, const char *path);

/* Is the call's descriptor at that path? */
bool trace_is_at(const struct trace_call *call, const char *path);

/* Does the text, as strace escapes it, stand in what was handed over or came back? */
bool trace_has(const struct trace_call *call, const char *text);

#endif
