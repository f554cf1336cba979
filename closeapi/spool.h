/* Events on disk, turned round: the log is read newest first and must be sent oldest first. Several runs, each put in
 * newest first, come out as one, oldest first. None of it is held in memory. */
#ifndef CLOSEAPI_SPOOL_H
#define CLOSEAPI_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

/* What stands behind each event in the file. */
struct spool_trailer {
    uint64_t length;
    int64_t order; /* the smallest comes out first */
};

/* One run: what of it is left lies between begin and end; top is its last trailer. */
struct spool_run {
    uint64_t begin, end;
    struct spool_trailer top;
};

struct spool {
    int fd; /* of a file without a name; -1: none */
    struct spool_run *runs;
    size_t run_count;
};

/* Makes an empty one, with a first run, in a directory. Returns false with the reason. */
bool spool_open(struct spool *spool, const char *directory, struct error *why);

/* What is put from now on is a run of its own. Returns false when memory is out. */
bool spool_begin_run(struct spool *spool);

/* Puts one into the run in hand. */
bool spool_put(struct spool *spool, const char *bytes, size_t length, int64_t order, struct error *why);

/* Takes the one with the smallest order into out. Returns false when there is none (then why is "") or it failed. */
bool spool_take(struct spool *spool, struct buffer *out, int64_t *order, struct error *why);

/* Forgets all; one empty run is left. */
void spool_clear(struct spool *spool);

void spool_close(struct spool *spool);

#endif
