/* Connections, transactions, running statements: see database.h. The settings were chosen by measurement and for
 * SQLite's pitfalls with several processes. */
#include "queue/sqlite/database.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/files.h"
#include "queue/sqlite/files.h"

#define ROOM_ENOUGH ((uint64_t)512 * 1024 * 1024) /* much more than is written in the next time */
#define ROOM_LOOK_MS 1000
#define CHECKPOINT_MS 5000 /* a request has its answer by 12 s */
#define BUSY_MS 10000      /* another process's checkpoint, or (without WAL) its readers */

static enum database_result execute_sql(struct database *database, const char *text)
{
    return database_result_of(database, sqlite3_exec(database->db, text, NULL, NULL, NULL));
}

static int take_text(void *context, int columns, char **values, char **names)
{
    char *out = context;
    (void)names;
    snprintf(out, DATABASE_TEXT, "%s", columns > 0 && values[0] != NULL ? values[0] : "");
    return 0;
}

int database_ask_text(struct database *database, const char *sql, char out[static DATABASE_TEXT])
{
    return sqlite3_exec(database->db, sql, take_text, out, NULL);
}

/* An unsynced rollback journal does not even keep the order of writes. */
enum database_result database_sync_commits(struct database *database, bool durable)
{
    return execute_sql(database,
                       durable || !database->wal ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
}

static enum database_result set_up(struct database *database, const char *directory, bool durable)
{
    int yes = 1, chunk = DATABASE_PAGE;
    sqlite3_busy_timeout(database->db, BUSY_MS);
    sqlite3_extended_result_codes(database->db, 1);
    /* Else each CGI request would checkpoint at close. And a log that stays needs no new directory entry, which would
     * have to be synced. */
    sqlite3_db_config(database->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_file_control(database->db, "main", SQLITE_FCNTL_PERSIST_WAL, &yes);
    sqlite3_file_control(database->db, "main", SQLITE_FCNTL_CHUNK_SIZE, &chunk); /* else a size hint takes no room */
    /* Only in a new database: setting auto_vacuum writes, and a queue on a full disk must open too. */
    char vacuum[DATABASE_TEXT] = "";
    enum database_result result = DATABASE_DONE;
    if (directory_file_system(directory) == FILE_SYSTEM_COPIES)
        result = database_set_journal_mode(database, directory); /* before any other read: see leave_wal */
    if (result == DATABASE_DONE)
        result = database_result_of(database, database_ask_text(database, "PRAGMA auto_vacuum", vacuum));
    if (result == DATABASE_DONE && strcmp(vacuum, "2") != 0)
        result = execute_sql(database, "PRAGMA page_size = 16384; PRAGMA auto_vacuum = INCREMENTAL");
    if (result == DATABASE_DONE && directory_file_system(directory) != FILE_SYSTEM_COPIES)
        result = database_set_journal_mode(database, directory);
    if (result == DATABASE_DONE)
        result = execute_sql(database, "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -512;"
                                       "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF");
    return result == DATABASE_DONE ? database_sync_commits(database, durable) : result;
}

static enum database_result open_failed(struct database *database, const char *path)
{
    database->error = errno;
    error_set(&database->why, "cannot open %s: %s", path, strerror(database->error));
    return no_room_is(database->error) ? DATABASE_FULL : DATABASE_FAILED;
}

bool database_lock_writers(struct database *database, bool wait)
{
    if (database->lock_path == NULL)
        return true;
    int error = lock_take(&database->write_lock, database->lock_path, wait ? LOCK_EX : LOCK_EX | LOCK_NB);
    if (error != 0)
        error_set(&database->why, "cannot lock the queue: %s", strerror(error));
    return error == 0;
}

void database_unlock_writers(struct database *database)
{
    if (database->write_lock >= 0)
        lock_release(&database->write_lock);
}

/* Takes turns with other processes: while one switches a new database to WAL, SQLite fails others at once with
 * "locked". */
static enum database_result set_up_in_turn(struct database *database, const char *directory, bool durable)
{
    if (!database_lock_writers(database, true))
        return DATABASE_FAILED;
    enum database_result result = set_up(database, directory, durable);
    database_unlock_writers(database);
    return result;
}

/* By itself SQLite makes room for twenty pages with the first one, and touches each: a fifth of what it costs to open a
 * database. Where SQLite is in use already it says so, and nothing changes. */
static void make_no_pages_in_advance(void)
{
    sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0);
}

/* Never SQLITE_OPEN_CREATE: a database that was removed must not come back as an empty one.
 *
 * Debian's SQLite by default overwrites all deleted content through the log: deleting events would need as much space
 * there as the events. FAST overwrites only within pages that are written anyway. */
enum database_result database_connect(struct database *database, const char *path)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_no_pages_in_advance);
    int code = sqlite3_open_v2(path, &database->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(database->db, "PRAGMA secure_delete = FAST", NULL, NULL, NULL);
    return database_result_of(database, code);
}

enum database_result database_connect_copy(struct database *database, const char *uri)
{
    int code = sqlite3_open_v2(uri, &database->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL);
    return database_result_of(database, code);
}

enum database_result database_connect_to_look(struct database *database, const char *path)
{
    int yes = 1;
    int code = sqlite3_open_v2(path, &database->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    sqlite3_db_config(database->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_file_control(database->db, "main", SQLITE_FCNTL_PERSIST_WAL, &yes);
    sqlite3_busy_timeout(database->db, BUSY_MS);
    return database_result_of(database, code);
}

enum database_result database_open(struct database *database, const char *directory, bool durable)
{
    char path[4096];
    *database = (struct database){.write_lock = -1};
    snprintf(path, sizeof path, "%s/write.lock", directory);
    database->lock_path = strdup(path);
    if (database->lock_path == NULL) {
        error_set(&database->why, "out of memory");
        return DATABASE_FAILED;
    }
    database->write_lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (database->write_lock < 0)
        return open_failed(database, path);
    snprintf(path, sizeof path, "%s/queue.db", directory);
    enum database_result result = database_connect(database, path);
    if (result != DATABASE_DONE)
        return result;
    struct stat status;
    bool is_new = stat(path, &status) == 0 && status.st_size == 0;
    result = is_new ? DATABASE_FAILED : set_up(database, directory, durable);
    return result == DATABASE_FAILED ? set_up_in_turn(database, directory, durable) : result;
}

void database_close(struct database *database)
{
    for (size_t i = 0; i < database->source_count; i++) {
        for (size_t j = 0; j < STATEMENTS; j++)
            sqlite3_finalize(database->sources[i].at[j]);
    }
    free(database->sources);
    sqlite3_close(database->db);
    if (database->write_lock >= 0)
        close(database->write_lock);
    free(database->lock_path);
    *database = (struct database){.write_lock = -1};
}

/* Detects a schema change by another release, in the transaction itself, as a process may live long. */
static enum database_result check_version(struct database *database)
{
    enum database_result result;
    int64_t version = database_number(database, STATEMENT_VERSION, &result);
    if (result == DATABASE_DONE && version != SCHEMA_VERSION) {
        error_set(&database->why, "the queue has version %lld, made by another release; this process knows %d",
                  (long long)version, SCHEMA_VERSION);
        return DATABASE_NEWER;
    }
    return result;
}

/* Before a transaction begins, so that its end works without memory: else it would stay open, lock out all that write,
 * and let this connection begin no other. */
static bool prepare_rollback(struct database *database)
{
    return database_statement(database, STATEMENT_ROLLBACK, 0) != NULL;
}

static void roll_back(struct database *database)
{
    struct error why = database->why;
    if (sqlite3_get_autocommit(database->db) == 0) /* some errors roll back themselves */
        database_run(database, database_statement(database, STATEMENT_ROLLBACK, 0));
    database->why = why;
}

enum database_result database_begin_reading(struct database *database)
{
    if (!prepare_rollback(database))
        return DATABASE_FAILED;
    return database_run(database, database_statement(database, STATEMENT_BEGIN_READING, 0));
}

void database_end_reading(struct database *database)
{
    roll_back(database);
}

enum database_result database_begin(struct database *database)
{
    if (!prepare_rollback(database))
        return DATABASE_FAILED;
    /* SQLite's busy handler is not fair: the longest waiter sleeps longest and may starve. */
    if (!database_lock_writers(database, true))
        return DATABASE_FAILED;
    enum database_result result = database_run(database, database_statement(database, STATEMENT_BEGIN, 0));
    if (result != DATABASE_DONE) {
        database_unlock_writers(database);
        return result;
    }
    result = check_version(database);
    if (result != DATABASE_DONE)
        database_rollback(database);
    return result;
}

/* Whether room may run out: the file system has little left, or a write has found none, which is how a quota shows. */
static bool is_short_of_room(struct database *database)
{
    struct statvfs disk;
    moment now = clock_now();
    if (database->error == 0 && (database->room_looked == 0 || now - database->room_looked >= ROOM_LOOK_MS)) {
        const char *path = sqlite3_db_filename(database->db, "main");
        database->room_looked = now;
        database->room_short =
            path != NULL && statvfs(path, &disk) == 0 && (uint64_t)disk.f_bavail * disk.f_frsize < ROOM_ENOUGH;
    }
    return database->error != 0 || database->room_short;
}

/* The lock of SQLite's own under which a checkpoint writes into the database's file: WAL_CKPT_LOCK of
 * sqlite.org/walformat.html, by the interface that SQLite itself uses. */
static int lock_checkpoints(const struct database *database, int how)
{
    enum { CHECKPOINT_LOCK = 1 };
    sqlite3_file *file = NULL;
    int code = sqlite3_file_control(database->db, "main", SQLITE_FCNTL_FILE_POINTER, (void *)&file);
    if (code != SQLITE_OK || file == NULL || file->pMethods == NULL || file->pMethods->iVersion < 2)
        return SQLITE_MISUSE;
    return file->pMethods->xShmLock(file, CHECKPOINT_LOCK, 1, how | SQLITE_SHM_EXCLUSIVE);
}

/* Waits for a checkpoint that is under way, of whichever process, and lets none begin. */
static enum database_result hold_checkpoints(struct database *database)
{
    moment until = clock_now() + CHECKPOINT_MS;
    int code = lock_checkpoints(database, SQLITE_SHM_LOCK);
    while (code == SQLITE_BUSY && clock_now() < until) {
        poll(NULL, 0, 1);
        code = lock_checkpoints(database, SQLITE_SHM_LOCK);
    }
    database->holds_checkpoints = code == SQLITE_OK;
    if (code == SQLITE_OK)
        return DATABASE_DONE;
    error_set(&database->why,
              "the log of the queue's database is being copied for %d s: the disk is slow, or a process "
              "that copies it was stopped",
              CHECKPOINT_MS / 1000);
    return DATABASE_FAILED;
}

static void let_checkpoints(struct database *database)
{
    if (database->holds_checkpoints)
        lock_checkpoints(database, SQLITE_SHM_UNLOCK);
    database->holds_checkpoints = false;
}

/* Takes the room that the database will need when the log is copied into it, as a database that finds none then stands
 * still: the log could neither be copied nor begin anew, and nothing be settled that would make room.
 *
 * SQLite takes it by writing a zero into each block beyond the file's end as it was when it looked. A checkpoint of
 * another connection writes there at the same time: zeros would stand in the middle of events. And it ends by cutting
 * the file to what is committed. So none goes on until this is committed. */
static enum database_result take_room(struct database *database)
{
    enum database_result result = DATABASE_DONE;
    if (!database->wal || !is_short_of_room(database))
        return result;
    sqlite3_int64 bytes = DATABASE_PAGE * database_number(database, STATEMENT_PAGES, &result);
    if (result == DATABASE_DONE)
        result = hold_checkpoints(database);
    if (result != DATABASE_DONE)
        return result;
    int code = sqlite3_file_control(database->db, "main", SQLITE_FCNTL_SIZE_HINT, &bytes);
    return code == SQLITE_OK || code == SQLITE_NOTFOUND ? DATABASE_DONE : database_result_of(database, code);
}

enum database_result database_commit(struct database *database)
{
    enum database_result result = take_room(database);
    if (result == DATABASE_DONE)
        result = database_run(database, database_statement(database, STATEMENT_COMMIT, 0));
    let_checkpoints(database);
    if (result != DATABASE_DONE) {
        struct error why = database->why;
        database_rollback(database);
        database->why = why;
        return result;
    }
    database_unlock_writers(database);
    return DATABASE_DONE;
}

void database_rollback(struct database *database)
{
    roll_back(database);
    database_unlock_writers(database);
}

enum database_result database_end(struct database *database, enum database_result result)
{
    if (result == DATABASE_DONE)
        return database_commit(database);
    database_rollback(database);
    return result;
}

/* ---- statements ---- */

/* The prepared statements of a source; number 0: those without a source. */
static struct source_statements *statements_of(struct database *database, uint32_t number)
{
    for (size_t i = 0; i < database->source_count; i++) {
        if (database->sources[i].number == number)
            return &database->sources[i];
    }
    struct source_statements *more =
        realloc(database->sources, (database->source_count + 1) * sizeof *database->sources);
    if (more == NULL)
        return NULL;
    database->sources = more;
    struct source_statements *one = &more[database->source_count++];
    *one = (struct source_statements){.number = number};
    return one;
}

sqlite3_stmt *database_statement(struct database *database, enum statement statement, uint32_t number)
{
    struct source_statements *statements = statements_of(database, statement >= STATEMENT_APPEND ? number : 0);
    if (statements == NULL) {
        error_set(&database->why, "out of memory");
        database->error = ENOMEM;
        return NULL;
    }
    sqlite3_stmt **slot = &statements->at[statement];
    if (*slot == NULL) {
        char text[512];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the table in statements.c is the only source of formats */
        snprintf(text, sizeof text, statement_texts[statement], (unsigned)number);
#pragma GCC diagnostic pop
        int code = sqlite3_prepare_v3(database->db, text, -1, SQLITE_PREPARE_PERSISTENT, slot, NULL);
        if (code != SQLITE_OK) {
            database_result_of(database, code);
            return NULL;
        }
    }
    return *slot;
}

enum database_result database_run(struct database *database, sqlite3_stmt *statement)
{
    if (statement == NULL)
        return DATABASE_FAILED;
    int code = sqlite3_step(statement);
    enum database_result result = DATABASE_DONE;
    if (code != SQLITE_DONE && code != SQLITE_ROW)
        result = database_result_of(database, code);
    sqlite3_reset(statement);
    return result;
}

int database_step(struct database *database, sqlite3_stmt *statement, enum database_result *result)
{
    *result = DATABASE_DONE;
    if (statement == NULL) {
        *result = DATABASE_FAILED;
        return SQLITE_ERROR;
    }
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW || code == SQLITE_DONE)
        return code;
    *result = database_result_of(database, code);
    sqlite3_reset(statement);
    return code;
}

int64_t database_number(struct database *database, enum statement statement, enum database_result *result)
{
    sqlite3_stmt *one = database_statement(database, statement, 0);
    int64_t number = 0;
    if (database_step(database, one, result) == SQLITE_ROW)
        number = sqlite3_column_int64(one, 0);
    if (*result == DATABASE_DONE)
        sqlite3_reset(one);
    return number;
}

/* ---- statements with numbers only ---- */

enum database_result database_run_with(struct database *database, enum statement statement, uint32_t number,
                                       const int64_t *values, size_t count)
{
    sqlite3_stmt *one = database_statement(database, statement, number);
    for (size_t i = 0; one != NULL && i < count; i++)
        sqlite3_bind_int64(one, (int)i + 1, values[i]);
    return database_run(database, one);
}

enum database_result database_ask_with(struct database *database, enum statement statement, uint32_t number,
                                       int64_t value, int64_t *answer)
{
    enum database_result result;
    sqlite3_stmt *one = database_statement(database, statement, number);
    *answer = 0;
    if (one != NULL && sqlite3_bind_parameter_count(one) > 0)
        sqlite3_bind_int64(one, 1, value);
    if (database_step(database, one, &result) == SQLITE_ROW)
        *answer = sqlite3_column_int64(one, 0);
    if (result == DATABASE_DONE)
        sqlite3_reset(one);
    return result;
}

enum database_result database_run_alone(struct database *database, sqlite3_stmt *statement, int *changes)
{
    enum database_result result = statement == NULL ? DATABASE_FAILED : database_begin(database);
    if (result != DATABASE_DONE)
        return result;
    result = database_run(database, statement);
    if (changes != NULL)
        *changes = sqlite3_changes(database->db);
    return database_end(database, result);
}
