/* What kept.c, kept_said.c and kept_watch.c share. */
#ifndef QUEUE_POSTGRESQL_KEPT_H
#define QUEUE_POSTGRESQL_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kept/engine.h"
#include "queue/postgresql/store.h"

struct seen {
    char *path;
    int64_t version;
};

struct pg_kept {
    const struct config *config;
    struct pg_session session;
    bool locked, lost;
    bool added;        /* a file of this machine's was put among the rows */
    bool looked;       /* what follows was read */
    struct seen *seen; /* the rows, as they were then */
    size_t count;
};

void *pg_kept_open(const struct config *config, struct error *why);
void pg_kept_close(void *state);
bool pg_kept_is_fresh(const struct config *config);

/* Brings the copies up to date. whole: reads also what has not changed, for who is going to change something. */
bool pg_kept_look_at(struct pg_kept *kept, bool whole, struct error *why);

bool pg_kept_exchange(void *state, const struct kept_speaker *speaker, struct error *why);
bool pg_kept_say(void *state, const struct kept_record *records, size_t count, struct error *why);

void *pg_watch_start(const struct config *config, const struct kept_speaker *speaker);
bool pg_watch_stop(void *state);

#endif
