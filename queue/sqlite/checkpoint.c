/* Checkpoints that SQLite's WAL-reset bug cannot hit: see checkpoint.h. */
#include "queue/sqlite/checkpoint.h"

#include <time.h>

#define LOG_FRAMES_MOST 2048   /* 32 MiB of log: then writers wait for a moment, so that it begins anew */
#define NEXT_COMMIT_NS 2000000 /* how long the next commit is waited for, before a second checkpoint */
#define READERS_MS 50          /* how long readers are waited for, while writers are held off */
#define BUSY_MS 10000

bool checkpoint_has_reset_bug(int version)
{
    return version >= 3007000 && version < 3051003 && (version < 3050007 || version >= 3051000) &&
           (version < 3044006 || version >= 3045000);
}

/* Other connections' commits change it. A statement that stands on its row would hold the log as a reader. */
static bool read_version(struct checkpointer *checkpointer, int64_t *version)
{
    enum database_result result;
    *version = database_number(&checkpointer->database, STATEMENT_DATA_VERSION, &result);
    return result == DATABASE_DONE;
}

/* What was committed up to now does not count: who knows what of it is copied. */
static void begin_anew(struct checkpointer *checkpointer)
{
    checkpointer->incomplete = false;
    checkpointer->unsure = true;
    checkpointer->has_base = read_version(checkpointer, &checkpointer->base);
}

/* Whether frames are uncopied for sure; *version: as read for that. */
static bool is_behind(struct checkpointer *checkpointer, int64_t *version)
{
    if (!checkpointer->has_base || !read_version(checkpointer, version)) {
        begin_anew(checkpointer);
        return false;
    }
    return checkpointer->incomplete || *version != checkpointer->base;
}

/* before: a version read before it, or with the writers held off. The base is read right after the checkpoint, never
 * before: a commit between the two would be copied, and count all the same. One that comes between the checkpoint's
 * begin and the reading of the base is not copied, and does not count: then the two versions differ. */
static void checkpoint(struct checkpointer *checkpointer, int mode, int64_t before)
{
    int frames = 0, copied = 0;
    int code = sqlite3_wal_checkpoint_v2(checkpointer->database.db, NULL, mode, &frames, &copied);
    begin_anew(checkpointer);
    checkpointer->failed = code != SQLITE_OK;
    if (checkpointer->failed)
        return;
    checkpointer->frames = frames < 0 ? 0 : frames;
    checkpointer->incomplete = copied < frames;
    checkpointer->unsure = !checkpointer->has_base || before != checkpointer->base;
}

/* One that begins whatever the log holds: nobody can begin it anew meanwhile. It waits for readers, but not for long:
 * the writers wait too. */
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

/* Returns whether there was anything to copy. */
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
        begin_anew(checkpointer); /* a fresh connection's checkpoint does nothing until it has read, too */
    }
    return result;
}

/* Under load there is no quiet moment, and the next commit makes what is uncopied show. */
static void copy_in_quiet(struct checkpointer *checkpointer)
{
    if (checkpointer->was_quiet && checkpointer->unsure)
        checkpoint_without_writers(checkpointer, SQLITE_CHECKPOINT_PASSIVE, false);
    checkpointer->was_quiet = true;
}

/* Under steady writing a passive checkpoint never lets the log begin anew: it is complete only as of its start. With
 * the writers held off for a moment there is little left to copy, and the next one begins it anew. */
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
