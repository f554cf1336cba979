/* What migrate.c and migrate_write.c share. */
#ifndef QUEUE_SQLITE_MIGRATE_H
#define QUEUE_SQLITE_MIGRATE_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/migration.h"
#include "queue/sqlite/database.h"
#include "queue/sqlite/files.h"

struct sqlite_side {
    struct database database;
    char directory[STATE_PATH];
    int open_lock;
};

/* ---- migrate.c: each returns false with the reason ---- */

bool side_failed(const struct sqlite_side *side, struct error *why);
bool side_execute(struct sqlite_side *side, const char *text, struct error *why);

/* Prepares SQL in which each %u, two at most, is a source's number; runs it to its end. */
sqlite3_stmt *side_prepare(struct database *database, const char *format, uint32_t number);
bool side_run(struct sqlite_side *side, sqlite3_stmt *statement, struct error *why);

bool side_begin(struct sqlite_side *side, struct error *why);

/* Commits what is good, else takes it back. */
bool side_end(struct sqlite_side *side, bool good, struct error *why);

/* 0: there is none. */
uint32_t side_number(struct sqlite_side *side, const char *source);

/* ---- migrate_write.c: as in struct migration ---- */

bool sqlite_side_arrived(void *state, const struct migration_mark *mark, const char *source, enum cargo_part part,
                         struct cargo_place *place, struct error *why);
bool sqlite_side_write(void *state, const struct migration_mark *mark, const char *source, enum cargo_part part,
                       const struct cargo *cargo, const struct cargo_place *place, struct error *why);
bool sqlite_side_take_back(void *state, const struct migration_mark *mark, const char *source, enum cargo_part part,
                           int64_t count, struct error *why);
/* Of one that receives, and is opened as it is: counts the dead letters, numbered beyond `letters`, whose counts have
 * not arrived. Within a transaction. */
bool sqlite_side_count_died(struct sqlite_side *side, int64_t letters, struct error *why);
bool sqlite_side_let_go(void *state, const char *source, enum cargo_part part, const struct cargo_place *place,
                        struct error *why);

#endif
