/* This engine's side of queue_migrate (queue/migration.h); migrate_write.c has what receives. The process has open.lock
 * alone, so that no other has the queue open. A queue that is marked has the version SCHEMA_MIGRATES, which nothing
 * opens; the table `migration` has the mark, `migrated` how far each part came. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/files.h"
#include "queue/sqlite/migrate.h"
#include "queue/sqlite/recovery.h"
#include "queue/sqlite/store.h"

#define OPEN_WAIT_MS 3000 /* a command may just be looking */

static const char tables[] =
    "CREATE TABLE IF NOT EXISTS migration (state INTEGER NOT NULL, number INTEGER NOT NULL, letters "
    "INTEGER NOT NULL,"
    " place TEXT NOT NULL, command TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS migrated (source INTEGER NOT NULL, part INTEGER NOT NULL, id INTEGER NOT NULL,"
    " key BLOB NOT NULL, PRIMARY KEY (source, part)) WITHOUT ROWID;"
    "DELETE FROM migration;";

/* The mark's origin, where a release before, which does not know of it, leaves it alone. */
#define ORIGIN_AT "source = 0 AND part = 0"

bool side_failed(const struct sqlite_side *side, struct error *why)
{
    *why = side->database.why;
    return false;
}

bool side_execute(struct sqlite_side *side, const char *text, struct error *why)
{
    return database_result_of(&side->database, sqlite3_exec(side->database.db, text, NULL, NULL, NULL)) ==
               DATABASE_DONE ||
           side_failed(side, why);
}

/* Prepares SQL in which each %u is a source's number. */
sqlite3_stmt *side_prepare(struct database *database, const char *format, uint32_t number)
{
    char text[500];
    sqlite3_stmt *statement = NULL;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* constant texts below */
    sqlite3_snprintf(sizeof text, text, format, (unsigned)number, (unsigned)number);
#pragma GCC diagnostic pop
    database_result_of(database, sqlite3_prepare_v2(database->db, text, -1, &statement, NULL));
    return statement;
}

/* Runs it to its end. */
bool side_run(struct sqlite_side *side, sqlite3_stmt *statement, struct error *why)
{
    if (statement == NULL)
        return side_failed(side, why);
    int code = sqlite3_step(statement);
    enum database_result result = database_result_of(&side->database, code == SQLITE_DONE ? SQLITE_OK : code);
    sqlite3_reset(statement);
    return result == DATABASE_DONE || side_failed(side, why);
}

bool side_begin(struct sqlite_side *side, struct error *why)
{
    return side_execute(side, "BEGIN IMMEDIATE", why);
}

bool side_end(struct sqlite_side *side, bool good, struct error *why)
{
    good = good && side_execute(side, "COMMIT", why);
    if (!good)
        sqlite3_exec(side->database.db, "ROLLBACK", NULL, NULL, NULL);
    return good;
}

static int64_t number_of(struct sqlite_side *side, const char *format, uint32_t number)
{
    sqlite3_stmt *one = side_prepare(&side->database, format, number);
    int64_t found = one != NULL && sqlite3_step(one) == SQLITE_ROW ? sqlite3_column_int64(one, 0) : 0;
    sqlite3_finalize(one);
    return found;
}

/* ---- opening ---- */

static bool lock_alone(struct sqlite_side *side, struct error *why)
{
    char path[STATE_PATH];
    directory_path(path, side->directory, "open.lock");
    int error = lock_take_within(&side->open_lock, path, OPEN_WAIT_MS);
    if (error == EWOULDBLOCK)
        error_set(why,
                  "a process has the queue in %.300s open: stop the program, and what starts it (web server, cron), "
                  "until the queue is moved",
                  side->directory);
    else if (error != 0)
        error_set(why, "cannot lock %.300s: %s", path, strerror(error));
    return error == 0;
}

static bool is_marked(struct database *database)
{
    enum database_result result;
    return database->db != NULL && database_number(database, STATEMENT_VERSION, &result) >= SCHEMA_MIGRATES;
}

static bool open_database(struct sqlite_side *side, struct error *why)
{
    enum database_result made = schema_make(side->directory, why);
    if (made != DATABASE_DONE)
        return false;
    enum database_result result = schema_open(&side->database, side->directory, true);
    return result == DATABASE_DONE || (result == DATABASE_NEWER && is_marked(&side->database)) ||
           side_failed(side, why);
}

static void sqlite_side_close(void *state)
{
    struct sqlite_side *side = state;
    database_close(&side->database);
    if (side->open_lock >= 0)
        close(side->open_lock);
    free(side);
}

static void *sqlite_side_open(const struct config *config, bool any, struct error *why)
{
    bool good = false;
    (void)any;
    struct sqlite_side *side = config->state_dir == NULL ? NULL : calloc(1, sizeof *side);
    if (side == NULL) {
        error_set(why, config->state_dir == NULL ? "the configuration names no state_dir" : "out of memory");
        return NULL;
    }
    side->open_lock = side->database.write_lock = -1;
    snprintf(side->directory, sizeof side->directory, "%s", config->state_dir);
    if (state_place_may_open(config, why) && directory_prepare(side->directory, why) && lock_alone(side, why)) {
        if (damage_is_marked(side->directory))
            error_set(why, "the queue in %.300s is damaged: `closecrm.fcgi queue check --repair` first",
                      side->directory);
        else
            good = open_database(side, why);
    }
    if (good)
        return side;
    sqlite_side_close(side);
    return NULL;
}

static void sqlite_side_place(const struct config *config, char out[static MIGRATION_PLACE])
{
    char host[64] = "";
    gethostname(host, sizeof host - 1);
    snprintf(out, MIGRATION_PLACE, "in the state directory %.200s on %.60s", config->state_dir, host);
}

/* ---- marks ---- */

static bool read_mark(struct database *database, struct migration_mark *mark)
{
    sqlite3_stmt *row = side_prepare(database, "SELECT state, number, letters, place, command FROM migration", 0);
    bool found = row != NULL && sqlite3_step(row) == SQLITE_ROW;
    *mark = (struct migration_mark){.state = MIGRATION_NONE};
    if (found) {
        mark->state = (enum migration_state)sqlite3_column_int(row, 0);
        mark->number = sqlite3_column_int64(row, 1);
        mark->letters = sqlite3_column_int64(row, 2);
        snprintf(mark->place, sizeof mark->place, "%s", (const char *)sqlite3_column_text(row, 3));
        snprintf(mark->command, sizeof mark->command, "%s", (const char *)sqlite3_column_text(row, 4));
    }
    sqlite3_finalize(row);
    row = found ? side_prepare(database, "SELECT id FROM migrated WHERE " ORIGIN_AT, 0) : NULL;
    if (row != NULL && sqlite3_step(row) == SQLITE_ROW)
        mark->origin = sqlite3_column_int64(row, 0);
    sqlite3_finalize(row);
    return found;
}

bool migrates_is_marked(struct database *database)
{
    struct migration_mark mark;
    bool marked = is_marked(database);
    if (marked && read_mark(database, &mark))
        migration_words(&mark, MIGRATION_OWN, &database->why);
    return marked;
}

bool migrates_has_left(struct database *database)
{
    struct migration_mark mark;
    return is_marked(database) && read_mark(database, &mark) && mark.state == MIGRATION_LEFT;
}

bool migrates_receives(struct database *database)
{
    struct migration_mark mark;
    bool receives = is_marked(database) && read_mark(database, &mark) &&
                    (mark.state == MIGRATION_RECEIVES || mark.state == MIGRATION_ARRIVED);
    if (receives)
        migration_words(&mark, MIGRATION_OWN, &database->why);
    return receives;
}

static bool sqlite_side_mark(void *state, struct migration_mark *mark, struct error *why)
{
    struct sqlite_side *side = state;
    *mark = (struct migration_mark){.state = MIGRATION_NONE};
    return !is_marked(&side->database) || read_mark(&side->database, mark) || side_failed(side, why);
}

static bool put_mark(struct sqlite_side *side, const struct migration_mark *mark, struct error *why)
{
    sqlite3_stmt *put = side_prepare(&side->database, "INSERT INTO migration VALUES (?1, ?2, ?3, ?4, ?5)", 0);
    if (put != NULL) {
        sqlite3_bind_int(put, 1, (int)mark->state);
        sqlite3_bind_int64(put, 2, mark->number);
        sqlite3_bind_int64(put, 3, mark->letters);
        sqlite3_bind_text(put, 4, mark->place, -1, SQLITE_STATIC);
        sqlite3_bind_text(put, 5, mark->command, -1, SQLITE_STATIC);
    }
    bool good = side_run(side, put, why);
    sqlite3_finalize(put);
    put = good
              ? side_prepare(&side->database, "REPLACE INTO migrated (source, part, id, key) VALUES (0, 0, ?1, x'')", 0)
              : NULL;
    if (put != NULL)
        sqlite3_bind_int64(put, 1, mark->origin);
    good = good && side_run(side, put, why);
    sqlite3_finalize(put);
    return good;
}

/* Afterwards all of it is in the file, for what stands beside a file may be lost with a copy of it, or removed. */
static bool sqlite_side_set_mark(void *state, const struct migration_mark *mark, struct error *why)
{
    struct sqlite_side *side = state;
    struct migration_mark before;
    char version[64];
    bool none = mark->state == MIGRATION_NONE;
    snprintf(version, sizeof version, "PRAGMA user_version = %d", none ? SCHEMA_VERSION : SCHEMA_MIGRATES);
    bool good = side_begin(side, why) && sqlite_side_mark(side, &before, why);
    if (none && good && before.state == MIGRATION_RECEIVES)
        good = sqlite_side_count_died(side, before.letters, why);
    good = good && side_execute(side, none ? "DROP TABLE migration; DROP TABLE migrated" : tables, why);
    good = good && (none || put_mark(side, mark, why));
    good = side_end(side, good && side_execute(side, version, why), why);
    return good && side_execute(side, "PRAGMA wal_checkpoint(TRUNCATE)", why);
}

/* Makes an empty queue that has the mark, beside queue.db. */
static bool build_empty(const char *directory, const struct migration_mark *mark, struct error *why)
{
    struct sqlite_side built = {.database = {.write_lock = -1}, .open_lock = -1};
    char path[STATE_PATH];
    directory_path(path, directory, BACKUP_BUILT);
    backup_remove_built(directory);
    if (schema_make_file(directory, BACKUP_BUILT, why) != DATABASE_DONE)
        return false;
    bool good = database_connect(&built.database, path) == DATABASE_DONE || side_failed(&built, why);
    good = good && sqlite_side_set_mark(&built, mark, why) && side_execute(&built, "PRAGMA journal_mode = DELETE", why);
    database_close(&built.database);
    return good && backup_sync(path, why);
}

/* At no moment there is a queue without the mark. */
static bool sqlite_side_empty(void *state, struct error *why)
{
    struct sqlite_side *side = state;
    struct migration_mark mark;
    char path[STATE_PATH];
    bool is_there;
    if (!sqlite_side_mark(side, &mark, why) || !build_empty(side->directory, &mark, why))
        return false;
    database_close(&side->database);
    directory_path(path, side->directory, "identities.filter");
    if (unlink(path) != 0 && errno != ENOENT) {
        error_set(why, "%.300s cannot be removed, whose content was moved before: %s", path, strerror(errno));
        return false;
    }
    return backup_put_built(side->directory, &is_there, why) && open_database(side, why);
}

/* ---- reading ---- */

uint32_t side_number(struct sqlite_side *side, const char *source)
{
    sqlite3_stmt *find = side_prepare(&side->database, "SELECT number FROM source WHERE name = ?1", 0);
    if (find != NULL)
        sqlite3_bind_text(find, 1, source, -1, SQLITE_STATIC);
    uint32_t number = find != NULL && sqlite3_step(find) == SQLITE_ROW ? (uint32_t)sqlite3_column_int64(find, 0) : 0;
    sqlite3_finalize(find);
    return number;
}

static bool sqlite_side_last_letter(void *state, int64_t *number, struct error *why)
{
    (void)why;
    *number = number_of(state, "SELECT seq FROM sqlite_sequence WHERE name = 'letter'", 0);
    return true;
}

static bool sqlite_side_names(void *state, struct strings *names, struct error *why)
{
    struct sqlite_side *side = state;
    sqlite3_stmt *sources = side_prepare(&side->database, "SELECT name FROM source ORDER BY number", 0);
    bool memory = true;
    while (memory && sources != NULL && sqlite3_step(sources) == SQLITE_ROW) {
        char **at = realloc(names->at, (names->count + 1) * sizeof *at);
        char *name = strdup((const char *)sqlite3_column_text(sources, 0));
        memory = at != NULL && name != NULL;
        if (at != NULL)
            names->at = at;
        if (memory)
            names->at[names->count++] = name;
        else
            free(name);
    }
    bool good = memory && sources != NULL && sqlite3_errcode(side->database.db) == SQLITE_DONE;
    if (!good)
        error_set(why, "%s", memory ? sqlite3_errmsg(side->database.db) : "out of memory");
    sqlite3_finalize(sources);
    return good;
}

/* Of each part: id, n, received, died, replayed, at, updated, letter, key, reason, body. */
static const char *const reads[CARGO_PARTS] = {
    [CARGO_KNOWN] = "SELECT 0, 0, 0, 0, 0, at, updated, 0, key, NULL, NULL FROM known WHERE source = %u AND key > ?2"
                    " ORDER BY key LIMIT 4096",
    [CARGO_LATEST] = "SELECT n, 0, 0, 0, 0, at, updated, 0, key, NULL, NULL FROM journal WHERE n > ?1 AND source = %u"
                     " ORDER BY n LIMIT 4096",
    [CARGO_LETTERS] = "SELECT id, 0, received, died, replayed, 0, updated, 0, key, reason, body FROM letter"
                      " WHERE id > ?1 AND source = %u ORDER BY id LIMIT 500",
    [CARGO_EVENTS] = "SELECT id, 0, received, 0, 0, 0, 0, letter, NULL, NULL, body FROM event_%u WHERE id > ?1"
                     " ORDER BY id LIMIT 500",
    [CARGO_COUNTS] = "SELECT kind, n, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL FROM count WHERE source = %u AND kind > ?1"
                     " AND kind IN (" CARGO_KINDS ") ORDER BY kind",
};

_Static_assert(CARGO_KEYS == 4096 && CARGO_ROWS == 500, "the statements above have these numbers");

static struct cargo_row take_row(sqlite3_stmt *row)
{
    struct cargo_row taken = {.id = sqlite3_column_int64(row, 0),
                              .n = sqlite3_column_int64(row, 1),
                              .received = sqlite3_column_int64(row, 2),
                              .died = sqlite3_column_int64(row, 3),
                              .replayed = sqlite3_column_int64(row, 4),
                              .at = sqlite3_column_int64(row, 5),
                              .updated = sqlite3_column_int64(row, 6),
                              .letter = sqlite3_column_int64(row, 7),
                              .has_key = sqlite3_column_bytes(row, 8) == 16,
                              .reason = (const char *)sqlite3_column_text(row, 9),
                              .body = sqlite3_column_blob(row, 10),
                              .length = (size_t)sqlite3_column_bytes(row, 10)};
    if (taken.has_key)
        memcpy(taken.key, sqlite3_column_blob(row, 8), sizeof taken.key);
    return taken;
}

static bool sqlite_side_read(void *state, const char *source, enum cargo_part part, const struct cargo_place *after,
                             struct cargo *cargo, struct error *why)
{
    struct sqlite_side *side = state;
    bool memory = true;
    int code = SQLITE_ROW;
    sqlite3_stmt *rows = side_prepare(&side->database, reads[part], side_number(side, source));
    if (rows == NULL)
        return side_failed(side, why);
    sqlite3_bind_int64(rows, 1, after->id);
    if (part == CARGO_KNOWN)
        sqlite3_bind_blob(rows, 2, after->key, sizeof after->key, SQLITE_STATIC);
    while (memory && cargo->texts.length < CARGO_BYTES && (code = sqlite3_step(rows)) == SQLITE_ROW) {
        const struct cargo_row row = take_row(rows);
        memory = cargo_add(cargo, &row);
    }
    enum database_result result =
        database_result_of(&side->database, code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code);
    sqlite3_finalize(rows);
    if (!memory)
        error_set(why, "out of memory");
    return memory && (result == DATABASE_DONE || side_failed(side, why));
}

/* Up to a place. */
static const char *const counts[CARGO_PARTS] = {
    [CARGO_LATEST] = "SELECT count(*) FROM journal WHERE n <= ?1 AND source = %u",
    [CARGO_LETTERS] = "SELECT count(*) FROM letter WHERE id <= ?1 AND source = %u",
    [CARGO_EVENTS] = "SELECT count(*) FROM event_%u WHERE id <= ?1",
};

static bool sqlite_side_count(void *state, const char *source, enum cargo_part part, const struct cargo_place *last,
                              int64_t *count, struct error *why)
{
    struct sqlite_side *side = state;
    *count = 0;
    if (counts[part] == NULL)
        return true;
    sqlite3_stmt *one = side_prepare(&side->database, counts[part], side_number(side, source));
    if (one != NULL)
        sqlite3_bind_int64(one, 1, last->id);
    bool good = one != NULL && sqlite3_step(one) == SQLITE_ROW;
    *count = good ? sqlite3_column_int64(one, 0) : 0;
    sqlite3_finalize(one);
    return good || side_failed(side, why);
}

const struct migration sqlite_migration = {
    .value = "sqlite",
    .open = sqlite_side_open,
    .close = sqlite_side_close,
    .place = sqlite_side_place,
    .mark_place = sqlite_side_place,
    .mark = sqlite_side_mark,
    .set_mark = sqlite_side_set_mark,
    .empty = sqlite_side_empty,
    .last_letter = sqlite_side_last_letter,
    .names = sqlite_side_names,
    .read = sqlite_side_read,
    .arrived = sqlite_side_arrived,
    .write = sqlite_side_write,
    .count = sqlite_side_count,
    .take_back = sqlite_side_take_back,
    .let_go = sqlite_side_let_go,
};
