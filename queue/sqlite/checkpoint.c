/* The write-ahead log kept short, by checkpoints that avoid SQLite's WAL-reset bug (see store.h); and what deleted
 * events left behind in log and pages, removed. */
#include "queue/sqlite/store.h"

#include <poll.h>
#include <time.h>

#include "queue/sqlite/database.h"

#define LOG_FRAMES_MOST 2048   /* 32 MiB: a longer log is restarted with writers locked out */
#define NEXT_COMMIT_NS 2000000 /* wait for the next commit before a second checkpoint */
#define READERS_MS 50          /* wait for readers while writers are locked out */
#define BUSY_MS 10000

bool checkpoint_has_reset_bug(int version)
{
    return version >= 3007000 && version < 3051003 && (version < 3050007 || version >= 3051000) &&
           (version < 3044006 || version >= 3045000);
}

/* Reads data_version, which changes with other connections' commits. The statement is reset, since a stepped one would
 * hold the log as a reader. */
static bool read_version(struct checkpointer *checkpointer, int64_t *version)
{
    enum database_result result;
    *version = database_number(&checkpointer->database, STATEMENT_DATA_VERSION, &result);
    return result == DATABASE_DONE;
}

/* Takes the current version as base; whether earlier commits are copied is unknown. */
static void reset_base(struct checkpointer *checkpointer)
{
    checkpointer->incomplete = false;
    checkpointer->unsure = true;
    checkpointer->has_base = read_version(checkpointer, &checkpointer->base);
}

/* Whether frames certainly are uncopied; *version: the data_version read. */
static bool is_behind(struct checkpointer *checkpointer, int64_t *version)
{
    if (!checkpointer->has_base || !read_version(checkpointer, version)) {
        reset_base(checkpointer);
        return false;
    }
    return checkpointer->incomplete || *version != checkpointer->base;
}

/* before: the version read before the checkpoint, or with writers locked out. The base is read right after the
 * checkpoint, not before: a commit between reading and checkpoint would be copied, yet count as uncopied. A commit
 * between checkpoint and reading is not copied and does not show in the base: then the two versions differ, and
 * `unsure` is set. */
static void checkpoint(struct checkpointer *checkpointer, int mode, int64_t before)
{
    int frames = 0, copied = 0;
    int code = sqlite3_wal_checkpoint_v2(checkpointer->database.db, NULL, mode, &frames, &copied);
    reset_base(checkpointer);
    checkpointer->failed = code != SQLITE_OK;
    checkpointer->held_off = (code & 0xff) == SQLITE_BUSY;
    if (checkpointer->failed)
        return;
    checkpointer->frames = frames < 0 ? 0 : frames;
    checkpointer->incomplete = copied < frames;
    checkpointer->unsure = !checkpointer->has_base || before != checkpointer->base;
}

/* A checkpoint whatever the state of the log: with writers locked out nobody can restart it. Waits for readers, but
 * briefly, as the writers wait too. */
static void checkpoint_without_writers(struct checkpointer *checkpointer, int mode, bool wait)
{
    int64_t version = 0;
    if (!database_lock_writers(&checkpointer->database, wait))
        return;
    sqlite3_busy_timeout(checkpointer->database.db, READERS_MS);
    if (read_version(checkpointer, &version))
        checkpoint(checkpointer, mode, version);
    sqlite3_busy_timeout(checkpointer->database.db, BUSY_MS);
    database_unlock_writers(&checkpointer->database);
}

/* Checkpoints if frames certainly are uncopied. Returns whether they were. */
static bool copy_if_behind(struct checkpointer *checkpointer)
{
    int64_t version = 0;
    bool behind = is_behind(checkpointer, &version);
    if (behind)
        checkpoint(checkpointer, SQLITE_CHECKPOINT_PASSIVE, version);
    return behind;
}

enum database_result checkpointer_open(struct checkpointer *checkpointer, const char *directory)
{
    *checkpointer = (struct checkpointer){.open = false};
    enum database_result result = database_open(&checkpointer->database, directory, false);
    if (result == DATABASE_DONE && checkpointer->database.wal) {
        checkpointer->open = true;
        reset_base(checkpointer); /* also, a new connection's checkpoint does nothing before its first read */
    }
    return result;
}

/* Copies what may be uncopied at the second quiet call. Under load there is none, and the next commit shows uncopied
 * frames. */
static void copy_in_quiet(struct checkpointer *checkpointer)
{
    if (checkpointer->was_quiet && checkpointer->unsure)
        checkpoint_without_writers(checkpointer, SQLITE_CHECKPOINT_PASSIVE, false);
    checkpointer->was_quiet = true;
}

/* Under constant writing a passive checkpoint never lets the log restart: it covers only the log as of its start. With
 * writers locked out little is left to copy, and the next writer restarts the log. */
void checkpointer_copy(struct checkpointer *checkpointer)
{
    static const struct timespec next_commit = {.tv_nsec = NEXT_COMMIT_NS};
    if (!checkpointer->open)
        return;
    if (!copy_if_behind(checkpointer)) {
        copy_in_quiet(checkpointer);
        return;
    }
    checkpointer->was_quiet = false;
    if (checkpointer
            ->held_off) /* where room is short each commit does so (database_commit): it would not get its turn */
        checkpoint_without_writers(checkpointer, SQLITE_CHECKPOINT_PASSIVE, true);
    if (checkpointer->frames <= LOG_FRAMES_MOST)
        return;
    clock_nanosleep(CLOCK_MONOTONIC, 0, &next_commit, NULL);
    copy_if_behind(checkpointer);
    checkpoint_without_writers(checkpointer, SQLITE_CHECKPOINT_RESTART, true);
}

bool checkpointer_has_more(const struct checkpointer *checkpointer)
{
    return checkpointer->open && checkpointer->unsure && !checkpointer->failed;
}

void checkpointer_empty(struct checkpointer *checkpointer)
{
    if (checkpointer->open)
        checkpoint_without_writers(checkpointer, SQLITE_CHECKPOINT_TRUNCATE, true);
}

void checkpointer_finish(struct checkpointer *checkpointer)
{
    if (checkpointer->open) {
        copy_if_behind(checkpointer);
        checkpoint_without_writers(checkpointer, SQLITE_CHECKPOINT_PASSIVE, false);
    }
    checkpointer_close(checkpointer);
}

void checkpointer_close(struct checkpointer *checkpointer)
{
    if (checkpointer->database.lock_path != NULL)
        database_close(&checkpointer->database);
    *checkpointer = (struct checkpointer){.open = false};
}

/* ---- erasure: removes what deleted events left behind. Deletion overwrites them within pages that stay in use
 * (secure_delete = FAST), but not in pages that become free, nor in the log, whose frames stay until they are written
 * over. Free pages are given back, a few in each transaction: pages from the file's end take their place. Then the log
 * is copied and truncated. ---- */

#define PAGES_A_STEP "PRAGMA incremental_vacuum(64)"
#define SCRUB_READERS_MS 100 /* wait for readers while writers are locked out */
#define TRIES_MS 10000       /* in all, for a moment without readers */
#define BETWEEN_TRIES_MS 50

static enum database_result release_step(struct database *database)
{
    enum database_result result = database_begin(database);
    if (result != DATABASE_DONE)
        return result;
    result = database_result_of(database, sqlite3_exec(database->db, PAGES_A_STEP, NULL, NULL, NULL));
    return database_end(database, result);
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
 * next checkpoint could meet the WAL-reset bug (store.h): a new frame prevents that. *done: it is truncated. */
static enum database_result truncate_log(struct database *database, bool *done)
{
    if (!database_lock_writers(database, true))
        return DATABASE_FAILED;
    sqlite3_busy_timeout(database->db, SCRUB_READERS_MS);
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
