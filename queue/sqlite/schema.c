/* The tables of the queue, their version, and migrations from older ones. A release migrates only to what its
 * predecessor can read: old and new processes share the database for a while. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "queue/sqlite/database.h"
#include "queue/sqlite/files.h"
#include "queue/sqlite/store.h"

/* Each source has its own table of events (schema_add_source), so that the backlog of one does not slow reading
 * another. AUTOINCREMENT: an id is never reused, and the last id assigned is the number of events accepted. */
static const char version_1[] =
    "CREATE TABLE source (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
    "CREATE TABLE count (source INTEGER NOT NULL, kind INTEGER NOT NULL, n INTEGER NOT NULL,"
    " PRIMARY KEY (source, kind)) WITHOUT ROWID;"
    /* identities of settled events in order; merged into `known` in bulk, as writing one random key per event would
       dirty a page per event */
    "CREATE TABLE journal (n INTEGER PRIMARY KEY, source INTEGER NOT NULL, key BLOB NOT NULL,"
    " updated INTEGER NOT NULL, at INTEGER NOT NULL);"
    "CREATE TABLE known (source INTEGER NOT NULL, key BLOB NOT NULL, updated INTEGER NOT NULL, at INTEGER NOT NULL,"
    " PRIMARY KEY (source, key)) WITHOUT ROWID;"
    /* dead letters; key NULL: no identity; replayed: since when a replay is waiting */
    "CREATE TABLE letter (id INTEGER PRIMARY KEY AUTOINCREMENT, source INTEGER NOT NULL, key BLOB, updated INTEGER,"
    " received INTEGER NOT NULL, died INTEGER NOT NULL, replayed INTEGER, reason TEXT NOT NULL, body BLOB NOT NULL);"
    "CREATE INDEX letter_key ON letter (source, key);"
    /* made_with: notes.config_fingerprint */
    "CREATE TABLE note (source INTEGER PRIMARY KEY, tries INTEGER NOT NULL, since INTEGER NOT NULL,"
    " next INTEGER NOT NULL, operator INTEGER NOT NULL, made_with INTEGER NOT NULL, reason TEXT NOT NULL);"
    "CREATE TABLE parked (source INTEGER NOT NULL, id INTEGER NOT NULL, since INTEGER NOT NULL,"
    " PRIMARY KEY (source, id)) WITHOUT ROWID;"
    "PRAGMA user_version = 1";

static enum database_result execute_schema(struct database *database, const char *text)
{
    return database_result_of(database, sqlite3_exec(database->db, text, NULL, NULL, NULL));
}

static enum database_result make_schema(struct database *database)
{
    enum database_result result = execute_schema(database, "BEGIN IMMEDIATE");
    if (result != DATABASE_DONE)
        return result;
    int64_t version = database_number(database, STATEMENT_VERSION, &result);
    if (result == DATABASE_DONE && version == 0) /* no other process was faster */
        result = execute_schema(database, version_1);
    if (result == DATABASE_DONE)
        return execute_schema(database, "COMMIT");
    struct error why = database->why;
    execute_schema(database, "ROLLBACK");
    database->why = why;
    return result;
}

static enum database_result prepare_schema(struct database *database)
{
    enum database_result result;
    int64_t version = database_number(database, STATEMENT_VERSION, &result);
    if (result != DATABASE_DONE || version == SCHEMA_VERSION)
        return result;
    if (version > SCHEMA_VERSION) {
        error_set(&database->why,
                  "the queue has version %lld, made by a newer release; this one knows %d: install the "
                  "newer release again, or let it deliver what waits",
                  (long long)version, SCHEMA_VERSION);
        return DATABASE_NEWER;
    }
    return make_schema(database);
}

/* Additions to version 1 that the release before can ignore while using the same database. Dead letters: an index by
 * time of death, and the sum of their bytes in the table `count` under source 0, which is no source (kinds: store.h);
 * triggers maintain it whichever release adds or deletes a letter. Requests of commands: owner.c. */
#define ENTRY_BYTES "256" /* approximate size of a letter without its body */
#define ADDITIONS 5
static const char additions[] =
    "CREATE INDEX IF NOT EXISTS letter_died ON letter (died);"
    "CREATE TRIGGER IF NOT EXISTS letter_added AFTER INSERT ON letter BEGIN"
    " UPDATE count SET n = n + length(new.body) + " ENTRY_BYTES " WHERE source = 0 AND kind = 11; END;"
    /* old.body would be read, however large; length() reads none. That of builds before did */
    "DROP TRIGGER IF EXISTS letter_removed;"
    "CREATE TRIGGER letter_removed BEFORE DELETE ON letter BEGIN UPDATE count"
    " SET n = n - (SELECT length(body) FROM letter WHERE id = old.id) - " ENTRY_BYTES
    " WHERE source = 0 AND kind = 11; END;"
    "REPLACE INTO count (source, kind, n)"
    " SELECT 0, 11, coalesce(sum(length(body) + " ENTRY_BYTES "), 0) FROM letter;"
    /* letters older than this release's first run are announced before they are deleted */
    "INSERT OR IGNORE INTO count (source, kind, n) SELECT 0, 13, 1000 * CAST(strftime('%s', 'now') AS INTEGER);"
    /* the database's id, for counts of merged ones (merge.c) */
    "INSERT OR IGNORE INTO count (source, kind, n) SELECT 0, 14, random() & 9223372036854775807;"
    /* key, updated: the event's identity, key NULL: none; state, words: the answer */
    "CREATE TABLE IF NOT EXISTS request (number INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL,"
    " event INTEGER NOT NULL, made INTEGER NOT NULL, key BLOB, updated INTEGER NOT NULL, state INTEGER NOT NULL,"
    " words TEXT NOT NULL)";

_Static_assert(COUNT_LETTER_BYTES == 11 && COUNT_LETTERS_SINCE == 13 && COUNT_DATABASE == 14,
               "the statements above have these numbers");

/* Not by database_begin: its prepared statements would belong to the old schema, and preparing them again needs memory
 * that may be missing then. Without space the additions are left out. */
static enum database_result add_to_it(struct database *database)
{
    enum database_result result;
    int64_t there = database_number(database, STATEMENT_ADDITIONS, &result);
    if (result == DATABASE_DONE && there < ADDITIONS) {
        result = execute_schema(database, "BEGIN IMMEDIATE");
        if (result == DATABASE_DONE)
            result = execute_schema(database, additions);
        if (result == DATABASE_DONE)
            result = execute_schema(database, "COMMIT");
        if (sqlite3_get_autocommit(database->db) == 0)
            sqlite3_exec(database->db, "ROLLBACK", NULL, NULL, NULL);
        if (sqlite3_get_autocommit(database->db) == 0)
            return DATABASE_FAILED; /* for want of memory: closing ends it */
    }
    return result == DATABASE_DAMAGED ? result : DATABASE_DONE;
}

#define BUSY_MS 10000 /* as database_open has set it */

/* Where a file cannot be opened for writing, as when descriptors are out for a moment, SQLite opens it for reading, and
 * such a connection could never write: it counts as not opened. That another process writes just now is no reason. */
static enum database_result check_writable(struct database *database)
{
    sqlite3_busy_timeout(database->db, 0);
    int code = sqlite3_exec(database->db, "BEGIN IMMEDIATE", NULL, NULL, NULL); /* tells of the log and its index */
    if (code == SQLITE_OK)
        sqlite3_exec(database->db, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_busy_timeout(database->db, BUSY_MS);
    if (sqlite3_get_autocommit(database->db) == 0) {
        error_set(&database->why, "out of memory"); /* the rollback could not be prepared */
        return DATABASE_FAILED;
    }
    if ((code & 0xff) != SQLITE_READONLY && sqlite3_db_readonly(database->db, "main") == 0)
        return DATABASE_DONE; /* what else is wrong shows when it is used */
    error_set(&database->why, "the queue's database cannot be opened for writing: are there enough descriptors "
                              "(ulimit -n), and may the program write all files of the state directory?");
    return DATABASE_FAILED;
}

enum database_result schema_open(struct database *database, const char *directory, bool durable)
{
    enum database_result result = database_open(database, directory, durable);
    if (result == DATABASE_DONE)
        result = check_writable(database);
    if (result == DATABASE_DONE)
        result = prepare_schema(database);
    return result == DATABASE_DONE ? add_to_it(database) : result;
}

/* ---- a new file ---- */

/* Free pages can only be released in a database created with auto_vacuum. */
static const char settings_of_a_new_file[] =
    "PRAGMA page_size = 16384; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA synchronous = FULL";

static enum database_result open_failed(const char *path, struct error *why)
{
    error_set(why, "cannot make %.300s: %s", path, strerror(errno));
    return no_room_is(errno) ? DATABASE_FULL : DATABASE_FAILED;
}

enum database_result schema_make_file(const char *directory, const char *name, struct error *why)
{
    struct database fresh = {.write_lock = -1};
    char path[STATE_PATH];
    directory_path(path, directory, name);
    /* SQLite would make the file readable by others. No connection has it open yet, so closing it drops no lock. */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return open_failed(path, why);
    close(fd);
    enum database_result result = database_connect(&fresh, path);
    if (result == DATABASE_DONE)
        result = execute_schema(&fresh, settings_of_a_new_file);
    if (result == DATABASE_DONE)
        result = database_set_journal_mode(&fresh, directory);
    if (result == DATABASE_DONE)
        result = make_schema(&fresh);
    if (result != DATABASE_DONE) {
        *why = fresh.why;
        unlink(path);
    }
    database_close(&fresh);
    return result;
}

/* link() instead of rename(), as it fails if a database exists by now. Some file systems have no hard links; creators
 * hold the writers' lock, so checking before is enough there. */
static enum database_result link_database(const char *new_path, const char *path, struct error *why)
{
    if (link(new_path, path) == 0 || errno == EEXIST)
        return unlink(new_path) == 0 ? DATABASE_DONE : open_failed(new_path, why);
    return rename(new_path, path) == 0 ? DATABASE_DONE : open_failed(path, why);
}

static int64_t size_of(const char *directory, const char *name)
{
    char path[STATE_PATH];
    struct stat status;
    directory_path(path, directory, name);
    return stat(path, &status) == 0 ? (int64_t)status.st_size : -1;
}

bool schema_is_missing(const char *directory)
{
    int64_t size = size_of(directory, "queue.db");
    return size < 0 || (size == 0 && size_of(directory, "queue.db-wal") > 0);
}

/* Renames the log of a database that is gone, since SQLite would mix it with the new database; kept for a repair by
 * hand. Returns DONE, or the result with the reason. */
static enum database_result set_remains_aside(const char *directory, struct error *why)
{
    static const char *const remains[] = {"queue.db", "queue.db-wal", "queue.db-shm", "queue.db-journal"};
    char from[STATE_PATH], to[STATE_PATH], name[80];
    for (size_t i = 0; i < sizeof remains / sizeof *remains; i++) {
        directory_path(from, directory, remains[i]);
        snprintf(name, sizeof name, "remains-%lld-%s", (long long)clock_unix_ms(), remains[i]);
        directory_path(to, directory, name);
        if (size_of(directory, remains[i]) < 0)
            continue;
        if (rename(from, to) != 0)
            return open_failed(from, why);
        log_write(LEVEL_ERROR,
                  "msg=queue_missing file=\"%s\" reason=\"the database it belongs to is gone; it is kept\"", to);
    }
    return DATABASE_DONE;
}

static enum database_result make_in_turn(const char *directory, const char *path, struct error *why)
{
    static const char *const left_over[] = {"queue.db.new", "queue.db.new-journal", "queue.db.new-wal",
                                            "queue.db.new-shm"};
    char new_path[STATE_PATH];
    if (!schema_is_missing(directory))
        return DATABASE_DONE; /* another process was faster */
    for (size_t i = 0; i < sizeof left_over / sizeof *left_over;
         i++) { /* left by a process that died while creating a database */
        directory_path(new_path, directory, left_over[i]);
        unlink(new_path);
    }
    directory_path(new_path, directory, left_over[0]);
    enum database_result result = set_remains_aside(directory, why);
    if (result == DATABASE_DONE)
        result = schema_make_file(directory, left_over[0], why);
    if (result == DATABASE_DONE)
        result = link_database(new_path, path, why);
    directory_path(new_path, directory, left_over[1]); /* mode TRUNCATE leaves an empty file */
    unlink(new_path);
    if (result == DATABASE_DONE && !files_sync(directory, why))
        result = DATABASE_FAILED;
    return result;
}

enum database_result schema_make(const char *directory, struct error *why)
{
    char path[STATE_PATH];
    directory_path(path, directory, "queue.db");
    if (!schema_is_missing(directory))
        return DATABASE_DONE;
    int lock = directory_open(directory, "write.lock", why);
    if (lock < 0)
        return no_room_is(errno) ? DATABASE_FULL : DATABASE_FAILED;
    int code;
    do
        code = flock(lock, LOCK_EX);
    while (code != 0 && errno == EINTR);
    enum database_result result = code == 0 ? make_in_turn(directory, path, why) : open_failed(path, why);
    close(lock);
    return result;
}

/* ---- sources ---- */

static enum database_result find_source(struct database *database, const char *name, uint32_t *number)
{
    enum database_result result;
    sqlite3_stmt *find = database_statement(database, STATEMENT_SOURCE_NUMBER, 0);
    *number = 0;
    if (find != NULL)
        sqlite3_bind_text(find, 1, name, -1, SQLITE_STATIC);
    if (database_step(database, find, &result) == SQLITE_ROW)
        *number = (uint32_t)sqlite3_column_int64(find, 0);
    if (result == DATABASE_DONE)
        sqlite3_reset(find);
    return result;
}

void schema_events_text(char *out, size_t size, uint32_t number)
{
    snprintf(out, size,
             "CREATE TABLE event_%u (id INTEGER PRIMARY KEY AUTOINCREMENT, received INTEGER NOT NULL,"
             " letter INTEGER, body BLOB NOT NULL)",
             (unsigned)number);
}

enum database_result schema_make_events(struct database *database, uint32_t number)
{
    char text[256];
    schema_events_text(text, sizeof text, number);
    return execute_schema(database, text);
}

static enum database_result make_source(struct database *database, const char *name, uint32_t *number)
{
    sqlite3_stmt *add = database_statement(database, STATEMENT_ADD_SOURCE, 0);
    if (add != NULL)
        sqlite3_bind_text(add, 1, name, -1, SQLITE_STATIC);
    enum database_result result = database_run(database, add);
    if (result != DATABASE_DONE)
        return result;
    *number = (uint32_t)sqlite3_last_insert_rowid(database->db);
    return schema_make_events(database, *number);
}

enum database_result schema_add_source(struct database *database, const char *name, uint32_t *number)
{
    enum database_result result = find_source(database, name, number);
    if (result != DATABASE_DONE || *number != 0)
        return result;
    result = database_begin(database);
    if (result != DATABASE_DONE)
        return result;
    result = find_source(database, name, number); /* again, in the transaction: no other process can add it now */
    if (result == DATABASE_DONE && *number == 0)
        result = make_source(database, name, number);
    return database_end(database, result);
}
