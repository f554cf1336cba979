/* What migrate.c and migrate_write.c share. */
#ifndef QUEUE_POSTGRESQL_MIGRATE_H
#define QUEUE_POSTGRESQL_MIGRATE_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/migration.h"
#include "queue/postgresql/store.h"

struct pg_side {
    struct pg_session session;
};

static inline bool side_done(const struct pg_side *side, enum pg_outcome result, struct error *why)
{
    return result == PG_DONE || pg_session_failed(&side->session, why);
}

/* ---- migrate_write.c: as in struct migration ---- */

bool pg_side_arrived(void *state, const struct migration_mark *mark, const char *source, enum cargo_part part,
                     struct cargo_place *place, struct error *why);
bool pg_side_write(void *state, const struct migration_mark *mark, const char *source, enum cargo_part part,
                   const struct cargo *cargo, const struct cargo_place *place, struct error *why);
bool pg_side_count(void *state, const char *source, enum cargo_part part, const struct cargo_place *last,
                   int64_t *count, struct error *why);
bool pg_side_take_back(void *state, const struct migration_mark *mark, const char *source, enum cargo_part part,
                       int64_t count, struct error *why);

#endif
