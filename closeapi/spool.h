/* Spool: turns the order of events round, on disk, since the Event Log is read newest first and is imported oldest
 * first. Several runs, each put in newest first, are merged: they come out as one, oldest first. */
#ifndef CLOSEAPI_SPOOL_H
#define CLOSEAPI_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

/* Follows each event in the file. */
struct spool_trailer {
    uint64_t length;
    int64_t order; /* the smallest comes out first */
};

/* A run: what is left of it lies between begin and end in the file; top is its last trailer. */
struct spool_run {
    uint64_t begin, end;
    struct spool_trailer top;
};

struct spool {
    int fd; /* of an unlinked file; -1: none */
    struct spool_run *runs;
    size_t run_count;
};

/* Makes an empty spool, with a first run, in a directory. Returns false with the reason. */
bool spool_open(struct spool *spool, const char *directory, struct error *why);

/* Begins another run. Returns false when memory is out. */
bool spool_begin_run(struct spool *spool);

/* Adds an event to the run that was begun last. Its order must not be larger than that of the one before. Returns false
 * with the reason. */
bool spool_put(struct spool *spool, const char *bytes, size_t length, int64_t order, struct error *why);

/* Takes the event with the smallest order into out. Returns false when there is none, with the reason "", or on
 * failure. */
bool spool_take(struct spool *spool, struct buffer *out, int64_t *order, struct error *why);

/* Drops all events; one empty run is left. */
void spool_clear(struct spool *spool);

void spool_close(struct spool *spool);

#endif
