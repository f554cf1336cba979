/* A slow line to a server: passes on what comes at a Unix socket to another one, so many bytes a second, and what comes
 * back at once. One connection at a time. */
#ifndef TESTS_SUPPORT_SLOW_LINE_H
#define TESTS_SUPPORT_SLOW_LINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct slow_line {
    atomic_size_t rate; /* bytes a second; may be set at any time */
    atomic_bool ends;
    int listens;
    const char *to;
    pthread_t thread;
};

/* Listens at the path, which must not be there yet; to is borrowed. Returns false when that failed. */
bool slow_line_start(struct slow_line *line, const char *path, const char *to, size_t rate);

void slow_line_stop(struct slow_line *line);

#endif
