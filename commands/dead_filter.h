/* Which dead letters a command means: its filters and ids, and the walk over the letters that match. */
#ifndef COMMANDS_DEAD_FILTER_H
#define COMMANDS_DEAD_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "commands/options.h"
#include "queue/inspect.h"
#include "transform/headline.h"

/* All zero: every dead letter. Texts are borrowed from argv. */
struct dead_filter {
    const char *source; /* NULL: any, as below */
    const char *reason; /* a part of it, in any case */
    const char *event;  /* a pattern as in `keep` */
    const char *lead;
    const char *since, *until; /* as typed */
    int64_t since_ms, until_ms;
    uint64_t *ids; /* sorted, each once */
    size_t id_count;
    size_t ids_found; /* by the last walk */
    uint64_t last;    /* the walk goes up to this id; 0: to the end */
};

/* Reads a command line with the filters' options, those in more, and ids. Returns false when it is wrong, and stderr
 * says how. Free with dead_filter_free either way. */
bool dead_filter_read(struct dead_filter *filter, int argc, char **argv, const struct option_spec *more,
                      size_t more_count);

/* Whether any filter or id was given. */
bool dead_filter_is_any(const struct dead_filter *filter);

void dead_filter_free(struct dead_filter *filter);

#define DEAD_PAGE_MOST 500 /* letters */

/* Some of the letters that match, oldest first, and the headline of each; borrowed. */
struct dead_page {
    const struct letter *const *letter;
    const struct headline *headline;
    size_t count; /* DEAD_PAGE_MOST at most */
};

/* Calls page for all letters that match, a page at a time, with no lock on the queue held meanwhile; page
 * returns false with the reason to end the walk. Returns false with the reason when page did or the queue failed. */
bool dead_filter_walk(struct queue *queue, struct dead_filter *filter,
                      bool (*page)(void *context, const struct dead_page *found, struct error *why), void *context,
                      struct error *why);

#endif
