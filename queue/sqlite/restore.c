/* Restoring a backup: see queue/inspect.h. The new database is built under another name; one rename puts it in place.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "base/text.h"
#include "queue/inspect.h"
#include "queue/sqlite/recovery.h"

#define BUILT BACKUP_BUILT

struct backup {
    struct database database; /* read only */
    bool has_files;
    int64_t made_ms;
};

static enum database_result execute_restore(struct database *database, const char *text)
{
    return database_result_of(database, sqlite3_exec(database->db, text, NULL, NULL, NULL));
}

/* Runs SQL that returns one number; 0 without a row or on failure, which is in *result. */
static int64_t number_of(struct database *database, const char *text, enum database_result *result)
{
    sqlite3_stmt *one = NULL;
    int64_t number = 0;
    if (*result != DATABASE_DONE)
        return 0;
    *result = database_result_of(database, sqlite3_prepare_v2(database->db, text, -1, &one, NULL));
    if (*result == DATABASE_DONE && database_step(database, one, result) == SQLITE_ROW)
        number = sqlite3_column_int64(one, 0);
    sqlite3_finalize(one);
    return number;
}

/* ---- reading ---- */

/* Makes a URI with which SQLite creates no file beside the database and takes no lock: the medium may be read-only. */
static char *uri_of(const char *path)
{
    char *uri = malloc(3 * strlen(path) + 32), *at = uri;
    if (uri == NULL)
        return NULL;
    at += sprintf(at, "file:");
    for (; *path != '\0'; path++)
        at += strchr("?#%", *path) != NULL ? sprintf(at, "%%%02x", (unsigned char)*path) : sprintf(at, "%c", *path);
    sprintf(at, "?immutable=1");
    return uri;
}

static bool is_whole(struct database *database, struct error *why)
{
    enum database_result result = DATABASE_DONE;
    sqlite3_stmt *check = NULL;
    bool whole = false;
    result =
        database_result_of(database, sqlite3_prepare_v2(database->db, "PRAGMA integrity_check(1)", -1, &check, NULL));
    if (result == DATABASE_DONE && database_step(database, check, &result) == SQLITE_ROW)
        whole = strcmp((const char *)sqlite3_column_text(check, 0), "ok") == 0;
    if (result == DATABASE_DONE && !whole)
        error_set(why, "it is damaged: %.200s", (const char *)sqlite3_column_text(check, 0));
    else if (result != DATABASE_DONE)
        *why = database->why;
    sqlite3_finalize(check);
    return whole;
}

static bool is_backup(struct backup *backup, const char *path, struct error *why)
{
    struct database *database = &backup->database;
    struct stat status;
    enum database_result result = DATABASE_DONE;
    int64_t version = number_of(database, "PRAGMA user_version", &result);
    int64_t tables =
        number_of(database, "SELECT count(*) FROM sqlite_master WHERE name IN ('source', 'known', 'letter')", &result);
    backup->has_files =
        number_of(database, "SELECT count(*) FROM sqlite_master WHERE name = '" BACKUP_FILES "'", &result) > 0;
    if (result == DATABASE_DONE && (tables != 3 || version != SCHEMA_VERSION)) {
        error_set(why, tables != 3 ? "it is no backup of a queue" : "it was made by another release of the program");
        return false;
    }
    backup->made_ms = backup->has_files ? number_of(database, "SELECT made_ms FROM " BACKUP_ABOUT, &result) : 0;
    if (result == DATABASE_DONE && backup->made_ms == 0 && stat(path, &status) == 0)
        backup->made_ms = (int64_t)status.st_mtim.tv_sec * 1000; /* an older release did not store it */
    if (result == DATABASE_DONE)
        return is_whole(database, why);
    *why = database->why;
    return false;
}

struct backup *backup_open(const char *path, struct error *why)
{
    struct backup *backup = calloc(1, sizeof *backup);
    char *uri = uri_of(path);
    bool good = false;
    if (backup == NULL || uri == NULL) {
        error_set(why, "out of memory");
    } else if (access(path, R_OK) != 0) {
        error_set(why, "%s", strerror(errno));
    } else {
        backup->database.write_lock = -1;
        enum database_result result = database_connect_copy(&backup->database, uri);
        good = result == DATABASE_DONE && is_backup(backup, path, why);
        if (result != DATABASE_DONE)
            *why = backup->database.why;
    }
    free(uri);
    if (good)
        return backup;
    error_prefix(why, "%.300s cannot be restored: ", path);
    backup_close(backup);
    return NULL;
}

void backup_close(struct backup *backup)
{
    if (backup != NULL && backup->database.db != NULL)
        database_close(&backup->database);
    free(backup);
}

int64_t backup_made_ms(const struct backup *backup)
{
    return backup->made_ms;
}

static bool add_name(struct strings *names, const char *name)
{
    char **at = realloc(names->at, (names->count + 1) * sizeof *at);
    if (at == NULL)
        return false;
    names->at = at;
    at[names->count] = strdup(name);
    return at[names->count++] != NULL;
}

bool backup_sources(struct backup *backup, struct strings *names, struct error *why)
{
    enum database_result result;
    bool memory = true;
    *names = (struct strings){NULL, 0};
    sqlite3_stmt *sources = database_statement(&backup->database, STATEMENT_SOURCES, 0);
    while (memory && database_step(&backup->database, sources, &result) == SQLITE_ROW)
        memory = add_name(names, (const char *)sqlite3_column_text(sources, 0));
    sqlite3_reset(sources);
    if (memory && result == DATABASE_DONE)
        return true;
    error_set(why, "%s", memory ? backup->database.why.text : "out of memory");
    queue_names_free(names);
    return false;
}

bool backup_read_files(struct backup *backup, struct backup_files *files, struct error *why)
{
    enum database_result result;
    sqlite3_stmt *read = NULL;
    bool memory = true;
    *files = (struct backup_files){NULL, 0};
    if (!backup->has_files)
        return true;
    result = database_result_of(
        &backup->database,
        sqlite3_prepare_v2(backup->database.db, "SELECT name, bytes FROM " BACKUP_FILES, -1, &read, NULL));
    while (result == DATABASE_DONE && memory && database_step(&backup->database, read, &result) == SQLITE_ROW)
        memory = backup_files_add(files, (const char *)sqlite3_column_text(read, 0), sqlite3_column_blob(read, 1),
                                  (size_t)sqlite3_column_bytes(read, 1));
    sqlite3_finalize(read);
    if (memory && result == DATABASE_DONE)
        return true;
    error_set(why, "%s", memory ? backup->database.why.text : "out of memory");
    backup_files_free(files);
    return false;
}

/* ---- the state directory ---- */

/* Counts the waiting events of the existing queue. */
static int64_t count_events(struct database *database, enum database_result *result)
{
    char text[64];
    int64_t events = number_of(database, "SELECT count(*) FROM letter", result);
    int64_t last = number_of(database, "SELECT max(number) FROM source", result);
    for (int64_t number = 1; number <= last && *result == DATABASE_DONE; number++) {
        sqlite3_snprintf(sizeof text, text, "SELECT count(*) FROM event_%lld", (long long)number);
        events += number_of(database, text, result);
    }
    return events;
}

static bool may_go(const char *directory, struct error *why)
{
    struct database old;
    if (!directory_has(directory, "queue.db"))
        return true;
    if (damage_is_marked(directory)) {
        error_set(
            why,
            "the queue in %.300s is damaged, and may hold events: let the program repair it, or move the directory "
            "aside",
            directory);
        return false;
    }
    enum database_result result = database_open(&old, directory, true);
    int64_t events = result == DATABASE_DONE ? count_events(&old, &result) : 0;
    bool is_moved = result == DATABASE_DONE && migrates_is_marked(&old);
    if (is_moved)
        *why = old.why;
    else if (result != DATABASE_DONE)
        error_set(why, "what the queue in %.200s holds cannot be told (%.200s): move the directory aside", directory,
                  old.why.text);
    else if (events > 0)
        error_set(
            why,
            "the queue in %.200s holds %lld event%s, waiting or as dead letters, which are not written over: deliver "
            "them (closecrm.fcgi forward; closecrm.fcgi dead list), or move the directory aside: mv '%.200s' "
            "'%.200s.old'",
            directory, (long long)events, text_plural((uint64_t)events), directory, directory);
    database_close(&old);
    return result == DATABASE_DONE && events == 0 && !is_moved;
}

int backup_lock(const char *state_dir, bool *busy, struct error *why)
{
    *busy = false;
    if (!directory_prepare(state_dir, why))
        return -1;
    char path[STATE_PATH];
    int lock = -1;
    directory_path(path, state_dir, "open.lock");
    int error = lock_take(&lock, path, LOCK_EX | LOCK_NB);
    *busy = error == EWOULDBLOCK;
    if (error == 0 && may_go(state_dir, why))
        return lock;
    if (*busy)
        error_set(why, "a process has the queue in %.300s open: stop it, and call this again", state_dir);
    else if (error != 0)
        error_set(why, "cannot lock %.300s: %s", path, strerror(error));
    if (lock >= 0)
        close(lock);
    return -1;
}

/* ---- building ---- */

/* SQL that takes over identities and counts of the existing queue, so that what was delivered since the backup is
 * known. With a source's number in the new database and in the existing one. */
static const char *const merge_texts[] = {
    "INSERT INTO known (source, key, updated, at) SELECT %u, key, updated, at FROM old.known WHERE source = %u"
    " ON CONFLICT (source, key) DO UPDATE SET updated = max(updated, excluded.updated), at = max(at, excluded.at)",
    "INSERT INTO known (source, key, updated, at) SELECT %u, key, max(updated), max(at) FROM old.journal"
    " WHERE source = %u GROUP BY key"
    " ON CONFLICT (source, key) DO UPDATE SET updated = max(updated, excluded.updated), at = max(at, excluded.at)",
    "INSERT INTO count (source, kind, n) SELECT %u, kind, n FROM old.count WHERE source = %u AND kind NOT IN (8, 9)"
    " ON CONFLICT (source, kind) DO UPDATE SET n = n + excluded.n",
    "INSERT INTO count (source, kind, n) SELECT %u, kind, n FROM old.count WHERE source = %u AND kind IN (8, 9)"
    " ON CONFLICT (source, kind) DO UPDATE SET n = max(n, excluded.n)",
};

static enum database_result merge_source(struct database *built, uint32_t number, uint32_t old_number)
{
    char text[600];
    enum database_result result = DATABASE_DONE;
    for (size_t i = 0; i < sizeof merge_texts / sizeof *merge_texts && result == DATABASE_DONE; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* constant texts above */
        snprintf(text, sizeof text, merge_texts[i], (unsigned)number, (unsigned)old_number);
#pragma GCC diagnostic pop
        result = execute_restore(built, text);
    }
    snprintf(text, sizeof text,
             "INSERT INTO sqlite_sequence (name, seq) SELECT 'event_%u', 0 WHERE NOT EXISTS"
             " (SELECT 1 FROM main.sqlite_sequence WHERE name = 'event_%u');"
             "UPDATE main.sqlite_sequence SET seq = seq + ifnull((SELECT seq FROM old.sqlite_sequence"
             " WHERE name = 'event_%u'), 0) WHERE name = 'event_%u'",
             (unsigned)number, (unsigned)number, (unsigned)old_number, (unsigned)number);
    return result == DATABASE_DONE ? execute_restore(built, text) : result;
}

static enum database_result merge_sources(struct database *built)
{
    enum database_result result;
    sqlite3_stmt *sources = NULL;
    result = database_result_of(
        built, sqlite3_prepare_v2(built->db, "SELECT number, name FROM old.source", -1, &sources, NULL));
    while (result == DATABASE_DONE && database_step(built, sources, &result) == SQLITE_ROW) {
        uint32_t number = 0, old_number = (uint32_t)sqlite3_column_int64(sources, 0);
        result = schema_add_source(built, (const char *)sqlite3_column_text(sources, 1), &number);
        if (result == DATABASE_DONE)
            result = merge_source(built, number, old_number);
    }
    sqlite3_finalize(sources);
    return result;
}

static enum database_result merge_backup(struct database *built, const char *directory)
{
    char path[STATE_PATH], text[STATE_PATH + 32];
    if (!directory_has(directory, "queue.db"))
        return DATABASE_DONE;
    directory_path(path, directory, "queue.db");
    sqlite3_snprintf(sizeof text, text, "ATTACH '%q' AS old", path);
    enum database_result result = execute_restore(built, text);
    if (result == DATABASE_DONE)
        result = merge_sources(built);
    if (result == DATABASE_DONE)
        result = execute_restore(built, "DETACH old");
    return result;
}

void backup_remove_built(const char *directory)
{
    static const char *const names[] = {BUILT, BUILT "-journal", BUILT "-wal", BUILT "-shm"};
    char path[STATE_PATH];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        directory_path(path, directory, names[i]);
        unlink(path);
    }
}

/* Removes the tables with signature keys completely: keys belong in their own files. */
static enum database_result finish_restore(struct database *built, const char *directory)
{
    enum database_result result =
        execute_restore(built, "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL;"
                               "PRAGMA secure_delete = ON; DROP TABLE IF EXISTS " BACKUP_FILES ";"
                               "DROP TABLE IF EXISTS " BACKUP_ABOUT);
    return result == DATABASE_DONE ? merge_backup(built, directory) : result;
}

bool backup_build(struct backup *backup, const char *state_dir, struct error *why)
{
    char path[STATE_PATH];
    struct database built = {.write_lock = -1};
    directory_path(path, state_dir, BUILT);
    backup_remove_built(state_dir); /* of a killed restore */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        error_set(why, "cannot make %.300s: %s", path, strerror(errno));
        return false;
    }
    close(fd); /* no connection has the file open yet */
    enum database_result result = backup_vacuum(&backup->database, path);
    *why = backup->database.why;
    if (result == DATABASE_DONE) {
        built.write_lock = directory_open(state_dir, "write.lock", why);
        result = built.write_lock < 0 ? DATABASE_FAILED : database_connect(&built, path);
        if (result == DATABASE_DONE)
            result = finish_restore(&built, state_dir);
        if (built.db != NULL)
            *why = built.why;
        database_close(&built);
    }
    if (result == DATABASE_DONE && backup_sync(path, why))
        return true;
    backup_remove_built(state_dir);
    return false;
}

/* Copies the old log into the old database: a log left behind would be taken for the new database's. */
static bool end_log(const char *directory, struct error *why)
{
    struct database old = {.write_lock = -1};
    char path[STATE_PATH];
    if (!directory_has(directory, "queue.db"))
        return true;
    directory_path(path, directory, "queue.db");
    enum database_result result = database_connect(&old, path);
    if (result == DATABASE_DONE)
        result = execute_restore(&old, "PRAGMA journal_mode = DELETE");
    *why = old.why;
    database_close(&old);
    if (result == DATABASE_DONE && directory_has(directory, "queue.db-wal")) {
        error_set(why, "the log of the old queue cannot be ended: is a process still there?");
        return false;
    }
    return result == DATABASE_DONE;
}

bool backup_put_built(const char *state_dir, bool *is_there, struct error *why)
{
    static const char *const beside[] = {"queue.db-journal", "queue.db-wal", "queue.db-shm"};
    char built[STATE_PATH], path[STATE_PATH];
    *is_there = false;
    directory_path(built, state_dir, BUILT);
    if (!end_log(state_dir, why))
        return false;
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) { /* of a database that is gone or empty */
        directory_path(path, state_dir, beside[i]);
        unlink(path);
    }
    directory_path(path, state_dir, "queue.db");
    if (rename(built, path) != 0) {
        error_set(why, "cannot make %.300s: %s", path, strerror(errno));
        return false;
    }
    *is_there = true;
    return files_sync(state_dir, why);
}

bool backup_commit(const char *state_dir, struct error *why)
{
    bool is_there;
    bool good = backup_put_built(state_dir, &is_there, why);
    if (!good && is_there)
        error_prefix(why, "the queue is restored, but whether it would survive a power cut now is not known (start the "
                          "program; if the machine goes down before, restore it again): ");
    return good;
}
