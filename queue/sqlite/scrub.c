/* Erasure: removes what deleted events left behind. Deletion overwrites them within pages that stay in use
 * (secure_delete = FAST), but not in pages that become free, nor in the log, whose frames stay until they are written
 * over. Free pages are given back, a few in each transaction: pages from the file's end take their place. Then the log
 * is copied and truncated. */
#include <poll.h>

#include "queue/sqlite/database.h"
#include "queue/sqlite/store.h"

#define PAGES_A_STEP "PRAGMA incremental_vacuum(64)"
#define READERS_MS 100 /* wait for readers while writers are locked out */
#define TRIES_MS 10000 /* in all, for a moment without readers */
#define BETWEEN_TRIES_MS 50

static enum database_result release_step(struct database *database)
{
    enum database_result result = database_begin(database);
    if (result != DATABASE_DONE)
        return result;
    result = database_result_of(database, sqlite3_exec(database->db, PAGES_A_STEP, NULL, NULL, NULL));
    if (result == DATABASE_DONE)
        return database_commit(database);
    database_rollback(database);
    return result;
}

/* Gives all free pages back. Others may free more meanwhile: as many steps as there were pages are enough for those
 * that were free when it began. */
static enum database_result release_pages(struct database *database)
{
    enum database_result result;
    int64_t unused = database_number(database, STATEMENT_FREE_PAGES, &result);
    for (int64_t steps = unused; steps > 0 && unused > 0 && result == DATABASE_DONE; steps--) {
        result = release_step(database);
        if (result == DATABASE_DONE)
            unused = database_number(database, STATEMENT_FREE_PAGES, &result);
    }
    return result;
}

/* Commits a row that says nothing, with writers locked out. */
static enum database_result write_frame(struct database *database)
{
    char text[128];
    sqlite3_snprintf(sizeof text, text,
                     "INSERT INTO count (source, kind, n) VALUES (0, %d, %lld)"
                     " ON CONFLICT (source, kind) DO UPDATE SET n = excluded.n",
                     COUNT_PROBED, (long long)clock_unix_ms());
    return database_result_of(database, sqlite3_exec(database->db, text, NULL, NULL, NULL));
}

/* Copies the log and truncates it. A reader in the way leaves a log that is copied completely, at which the owner's
 * next checkpoint could meet the WAL-reset bug (checkpoint.h): a new frame prevents that. *done: it is truncated. */
static enum database_result truncate_log(struct database *database, bool *done)
{
    if (!database_lock_writers(database, true))
        return DATABASE_FAILED;
    sqlite3_busy_timeout(database->db, READERS_MS);
    int code = sqlite3_wal_checkpoint_v2(database->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    *done = code == SQLITE_OK;
    enum database_result result = code == SQLITE_BUSY ? write_frame(database) : database_result_of(database, code);
    database_unlock_writers(database);
    return result;
}

static enum database_result clear_log(struct database *database)
{
    moment until = clock_now() + TRIES_MS;
    bool done = !database->wal;
    enum database_result result = DATABASE_DONE;
    while (!done && result == DATABASE_DONE) {
        result = truncate_log(database, &done);
        if (!done && result == DATABASE_DONE && clock_now() >= until) {
            error_set(&database->why,
                      "others read the queue all the time, and its log could not be emptied: try again");
            return DATABASE_FAILED;
        }
        if (!done)
            poll(NULL, 0, BETWEEN_TRIES_MS);
    }
    return result;
}

bool store_scrub(void *state, struct error *why)
{
    struct store *store = state;
    struct database database;
    enum database_result result = database_open(&database, store->directory, true);
    if (result == DATABASE_DONE)
        result = release_pages(&database);
    if (result == DATABASE_DONE)
        result = clear_log(&database);
    if (result != DATABASE_DONE)
        *why = database.why;
    database_close(&database);
    return result == DATABASE_DONE;
}
