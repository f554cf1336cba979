/* Space and retention of dead letters: see store.h. The sum of their bytes, the triggers that maintain it, and
 * the index that finds the oldest are created in schema.c. */
#include "queue/sqlite/store.h"

#include "base/log.h"

#define STEP 64 /* letters deleted in one transaction; appends wait meanwhile */
#define WEEK_MS ((int64_t)7 * 24 * 60 * 60 * 1000)

int64_t letters_bytes(struct database *database, enum database_result *result)
{
    int64_t bytes = database_number(database, STATEMENT_LETTER_BYTES, result);
    return bytes > 0 ? bytes : 0;
}

int64_t letters_share(int64_t queue_max_bytes)
{
    return queue_max_bytes / 4;
}

void letters_why_full(int64_t used, int64_t letters, int64_t most, struct error *why)
{
    long long waiting = used > letters ? used - letters : 0;
    error_set(why,
              "queue_max_bytes (%lld MiB) is reached: %lld MiB of events that wait or are known, "
              "%lld MiB of dead letters: the data plane must take what waits%s",
              (long long)most >> 20, waiting >> 20, (long long)letters >> 20,
              letters >> 20 == 0 ? ""
                                 : "; `closecrm.fcgi dead list` shows the dead letters, and `closecrm.fcgi dead drop` "
                                   "throws away those that you name");
}

/* How long before its deletion a letter counts as to be deleted soon. */
static int64_t notice_of(int64_t dead_retention_ms)
{
    return dead_retention_ms / 4 < WEEK_MS ? dead_retention_ms / 4 : WEEK_MS;
}

/* No letter is deleted before this time. */
static int64_t first_end(struct database *database, int64_t dead_retention_ms, enum database_result *result)
{
    return database_number(database, STATEMENT_LETTERS_SINCE, result) + notice_of(dead_retention_ms);
}

enum database_result letters_ending(struct database *database, uint32_t number, int64_t dead_retention_ms,
                                    uint64_t *count, int64_t *first_ms)
{
    enum database_result result;
    *count = 0;
    *first_ms = 0;
    if (dead_retention_ms == 0)
        return DATABASE_DONE;
    int64_t not_before = first_end(database, dead_retention_ms, &result);
    sqlite3_stmt *older = result == DATABASE_DONE ? database_statement(database, STATEMENT_LETTERS_OLDER, 0) : NULL;
    if (older != NULL) {
        sqlite3_bind_int64(older, 1, number);
        sqlite3_bind_int64(older, 2, clock_unix_ms() - dead_retention_ms + notice_of(dead_retention_ms));
    }
    if (result == DATABASE_DONE && database_step(database, older, &result) == SQLITE_ROW)
        *count = (uint64_t)sqlite3_column_int64(older, 0);
    if (*count > 0) {
        *first_ms = sqlite3_column_int64(older, 1) + dead_retention_ms;
        *first_ms = *first_ms < not_before ? not_before : *first_ms;
    }
    if (result == DATABASE_DONE)
        sqlite3_reset(older);
    return result;
}

/* ---- deletion ---- */

/* Letters of one source deleted in a step. */
struct ended {
    int64_t source;
    int64_t first_id, last_id;
    size_t count;
};

struct step {
    int64_t id[STEP];
    struct ended of[STEP]; /* each source once */
    size_t ids, sources;
};

static void note_step(struct step *step, int64_t id, int64_t source)
{
    size_t i = 0;
    while (i < step->sources && step->of[i].source != source)
        i++;
    struct ended *of = &step->of[i];
    if (i == step->sources) {
        *of = (struct ended){.source = source, .first_id = id, .last_id = id};
        step->sources++;
    }
    of->first_id = id < of->first_id ? id : of->first_id;
    of->last_id = id > of->last_id ? id : of->last_id;
    of->count++;
    step->id[step->ids++] = id;
}

static enum database_result find_expired(struct database *database, int64_t before_ms, struct step *step)
{
    enum database_result result;
    sqlite3_stmt *oldest = database_statement(database, STATEMENT_LETTERS_OLDEST, 0);
    if (oldest != NULL) {
        sqlite3_bind_int64(oldest, 1, before_ms);
        sqlite3_bind_int64(oldest, 2, STEP);
    }
    while (step->ids < STEP && database_step(database, oldest, &result) == SQLITE_ROW)
        note_step(step, sqlite3_column_int64(oldest, 0), sqlite3_column_int64(oldest, 1));
    if (step->ids == STEP)
        result = DATABASE_DONE;
    if (result == DATABASE_DONE)
        sqlite3_reset(oldest);
    return result;
}

static enum database_result add_count(struct database *database, int64_t source, enum count_kind kind, int64_t n)
{
    sqlite3_stmt *add = database_statement(database, STATEMENT_ADD_COUNT, 0);
    if (add != NULL) {
        sqlite3_bind_int64(add, 1, source);
        sqlite3_bind_int64(add, 2, kind);
        sqlite3_bind_int64(add, 3, n);
    }
    return database_run(database, add);
}

/* Into the index, as a move does: the journal belongs to its owner. */
static enum database_result keep_identity(struct database *database, int64_t id, int64_t dedupe_window_ms)
{
    sqlite3_stmt *keep = database_statement(database, STATEMENT_KEEP_KEY, 0);
    if (keep != NULL) {
        sqlite3_bind_int64(keep, 1, id);
        sqlite3_bind_int64(keep, 2, clock_unix_ms() - dedupe_window_ms);
    }
    enum database_result result = database_run(database, keep);
    if (result != DATABASE_DONE || sqlite3_changes(database->db) == 0)
        return result;
    return add_count(database, 0, COUNT_MOVES, 1);
}

enum database_result letters_delete(struct database *database, int64_t id, int64_t dedupe_window_ms, bool *deleted)
{
    enum database_result result = keep_identity(database, id, dedupe_window_ms);
    if (result != DATABASE_DONE)
        return result;
    sqlite3_stmt *resolve = database_statement(database, STATEMENT_RESOLVE_LETTER, 0);
    if (resolve != NULL)
        sqlite3_bind_int64(resolve, 1, id);
    result = database_run(database, resolve);
    *deleted = result == DATABASE_DONE && sqlite3_changes(database->db) > 0;
    return result;
}

static enum database_result remove_all(struct database *database, const struct step *step, int64_t dedupe_window_ms)
{
    enum database_result result = DATABASE_DONE;
    bool deleted;
    for (size_t i = 0; i < step->ids && result == DATABASE_DONE; i++)
        result = letters_delete(database, step->id[i], dedupe_window_ms, &deleted);
    for (size_t i = 0; i < step->sources && result == DATABASE_DONE; i++)
        result = add_count(database, step->of[i].source, COUNT_ENDED, (int64_t)step->of[i].count);
    return result;
}

static void log_expired(struct database *database, const struct step *step)
{
    for (size_t i = 0; i < step->sources; i++) {
        const struct ended *of = &step->of[i];
        enum database_result result;
        sqlite3_stmt *name = database_statement(database, STATEMENT_SOURCE_NAME, 0);
        if (name != NULL)
            sqlite3_bind_int64(name, 1, of->source);
        if (database_step(database, name, &result) == SQLITE_ROW)
            log_write(LEVEL_WARN, "msg=dead_letters_ended source=%.64s letters=%zu ids=%lld-%lld reason=dead_retention",
                      (const char *)sqlite3_column_text(name, 0), of->count, (long long)of->first_id,
                      (long long)of->last_id);
        if (result == DATABASE_DONE)
            sqlite3_reset(name);
    }
}

enum database_result letters_expire_step(const struct store *store, struct database *database, size_t *ended)
{
    struct step step = {.ids = 0};
    *ended = 0;
    if (store->config->dead_retention_ms == 0)
        return DATABASE_DONE;
    enum database_result result;
    int64_t now = clock_unix_ms(), before_ms = now - store->config->dead_retention_ms;
    if (now < first_end(database, store->config->dead_retention_ms, &result))
        return result;
    if (result == DATABASE_DONE)
        result = find_expired(database, before_ms, &step);
    if (result != DATABASE_DONE || step.ids == 0)
        return result; /* nothing to delete needs no transaction */
    step = (struct step){.ids = 0};
    result = database_begin(database);
    if (result != DATABASE_DONE)
        return result;
    result = find_expired(database, before_ms, &step);
    if (result == DATABASE_DONE)
        result = remove_all(database, &step, store->config->dedupe_window_ms);
    result = database_end(database, result);
    if (result == DATABASE_DONE) {
        *ended = step.ids;
        log_expired(database, &step);
    }
    return result;
}
