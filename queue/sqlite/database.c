/* Connections and transactions: see database.h. What each setting is for is measured; the pitfalls of SQLite with
 * several processes decide it. */
#include "queue/sqlite/database.h"
#include "base/no_room.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/lock_file.h"

#define BUSY_MS 10000 /* another process's checkpoint, or (without WAL) its readers */

/* File systems that are surely local: WAL needs shared memory, and corrupts on others even with one client. Those that
 * write each block to a new place cannot promise room for a mapped file, whatever was allocated before: on a full disk
 * SQLite's index of the log would end the process with SIGBUS. There the queue does without a log. (No-copy-on-write
 * files are no way out: Linux before 6.16 does not look at that for mapped files.) Not all kernels' headers know all of
 * them. */
static const struct {
    long type;
    bool copies; /* on write */
} local[] = {
    {EXT4_SUPER_MAGIC, false},      {0x58465342 /* xfs */, false},     {BTRFS_SUPER_MAGIC, true},
    {TMPFS_MAGIC, false},           {F2FS_SUPER_MAGIC, false},         {0x2fc12fc1 /* zfs */, true},
    {OVERLAYFS_SUPER_MAGIC, false}, {REISERFS_SUPER_MAGIC, false},     {0x3153464a /* jfs */, false},
    {0x3434 /* nilfs */, true},     {0xca451a4e /* bcachefs */, true},
};

enum file_system_kind { FILE_SYSTEM_REMOTE, FILE_SYSTEM_COPIES, FILE_SYSTEM_LOCAL };

static enum file_system_kind file_system_kind_of(const char *directory)
{
    struct statfs status;
    if (statfs(directory, &status) != 0)
        return FILE_SYSTEM_REMOTE;
    for (size_t i = 0; i < sizeof local / sizeof *local; i++) {
        if (((long)status.f_type & 0xffffffffL) == local[i].type)
            return local[i].copies ? FILE_SYSTEM_COPIES : FILE_SYSTEM_LOCAL;
    }
    return FILE_SYSTEM_REMOTE;
}

static enum database_result execute_sql(struct database *database, const char *text)
{
    return database_result_of(database, sqlite3_exec(database->db, text, NULL, NULL, NULL));
}

static int take_text(void *context, int columns, char **values, char **names)
{
    char *out = context; /* of 32 bytes */
    (void)names;
    snprintf(out, 32, "%s", columns > 0 && values[0] != NULL ? values[0] : "");
    return 0;
}

static bool has_log(const struct database *database)
{
    char log[4096];
    const char *path = sqlite3_db_filename(database->db, "main");
    snprintf(log, sizeof log, "%s-wal", path == NULL ? "" : path);
    return access(log, F_OK) == 0;
}

/* A database that has a log keeps it until nobody else has it open: then its log is copied and removed. The version
 * before makes a log on every local file system. Where the others are of this machine, it can be used with its log
 * until then. Whoever has it alone needs no mapped index for reading the log. */
static int leave_wal(struct database *database, enum file_system_kind kind, char mode[static 32])
{
    int no = 0, yes = 1;
    if (!has_log(database))
        return sqlite3_exec(database->db, "PRAGMA journal_mode = TRUNCATE", take_text, mode, NULL);
    sqlite3_file_control(database->db, "main", SQLITE_FCNTL_PERSIST_WAL, &no); /* a log that stays would be read */
    sqlite3_exec(database->db, "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL);
    int code = sqlite3_exec(database->db, "PRAGMA journal_mode = TRUNCATE", take_text, mode, NULL);
    sqlite3_file_control(database->db, "main", SQLITE_FCNTL_PERSIST_WAL, &yes);
    sqlite3_exec(database->db, "PRAGMA locking_mode = NORMAL", NULL, NULL, NULL);
    if ((code & 0xff) == SQLITE_BUSY && kind == FILE_SYSTEM_COPIES)
        code = sqlite3_exec(database->db, "PRAGMA journal_mode", take_text, mode, NULL);
    database->wal = strcmp(mode, "wal") == 0;
    return code;
}

/* Asks for the journal mode and looks at what is answered: SQLite does not fail when it cannot have WAL, as where a
 * file cannot be mapped. */
enum database_result database_set_journal_mode(struct database *database, const char *directory)
{
    char mode[32] = "";
    int code = SQLITE_OK;
    enum file_system_kind kind = file_system_kind_of(directory);
    if (kind == FILE_SYSTEM_LOCAL)
        code = sqlite3_exec(database->db, "PRAGMA journal_mode = WAL", take_text, mode, NULL);
    database->wal = strcmp(mode, "wal") == 0;
    if (code == SQLITE_OK && !database->wal)
        code = leave_wal(database, kind, mode);
    if (code == SQLITE_OK && !database->wal && strcmp(mode, "truncate") != 0) {
        error_set(&database->why, "the queue's database has journal mode %s, which is not safe", mode);
        return DATABASE_FAILED;
    }
    return database_result_of(database, code);
}

static enum database_result set_up(struct database *database, const char *directory, bool durable)
{
    int yes = 1;
    sqlite3_busy_timeout(database->db, BUSY_MS);
    sqlite3_extended_result_codes(database->db, 1);
    /* At close every CGI request would checkpoint; and a log that stays needs no new directory entry, which would
     * have to be synced. */
    sqlite3_db_config(database->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_file_control(database->db, "main", SQLITE_FCNTL_PERSIST_WAL, &yes);
    /* Setting auto_vacuum writes, and a full disk must be opened too: only in a new database. */
    char vacuum[32] = "";
    enum database_result result = DATABASE_DONE;
    if (file_system_kind_of(directory) == FILE_SYSTEM_COPIES)
        result = database_set_journal_mode(database, directory); /* before anything else reads it: see leave_wal */
    if (result == DATABASE_DONE)
        result =
            database_result_of(database, sqlite3_exec(database->db, "PRAGMA auto_vacuum", take_text, vacuum, NULL));
    if (result == DATABASE_DONE && strcmp(vacuum, "2") != 0)
        result = execute_sql(database, "PRAGMA page_size = 16384; PRAGMA auto_vacuum = INCREMENTAL");
    if (result == DATABASE_DONE && file_system_kind_of(directory) != FILE_SYSTEM_COPIES)
        result = database_set_journal_mode(database, directory);
    if (result == DATABASE_DONE)
        result = execute_sql(database, "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -2048;"
                                       "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF");
    if (result == DATABASE_DONE)
        /* A rollback journal that is not synced is not safe even for order. */
        result = execute_sql(database,
                             durable || !database->wal ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
    return result;
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
        lock_release(database->write_lock);
}

/* While one process turns a new database into one with a log, SQLite tells others at once that it is locked: they take
 * turns. */
static enum database_result set_up_in_turn(struct database *database, const char *directory, bool durable)
{
    if (!database_lock_writers(database, true))
        return DATABASE_FAILED;
    enum database_result result = set_up(database, directory, durable);
    database_unlock_writers(database);
    return result;
}

/* Never SQLITE_OPEN_CREATE: a database that was removed must not come back as an empty one.
 *
 * Debian's SQLite overwrites by default all that is deleted, through the log: deleting events would need as much room
 * there as the events are large. FAST overwrites within pages that are written anyway, and leaves pages that become
 * free as they are. */
enum database_result database_connect(struct database *database, const char *path)
{
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

/* What other releases do to the schema is seen here, in the very transaction: a process may live long. */
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

enum database_result database_begin(struct database *database)
{
    /* What is begun can be ended when memory is out, too: else the transaction would stay open, and lock all out. */
    if (database_statement(database, STATEMENT_ROLLBACK, 0) == NULL)
        return DATABASE_FAILED;
    /* SQLite's own busy handler is not fair: whoever sleeps longest may starve. */
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

enum database_result database_commit(struct database *database)
{
    enum database_result result = database_run(database, database_statement(database, STATEMENT_COMMIT, 0));
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
    struct error why = database->why;
    if (sqlite3_get_autocommit(database->db) == 0) /* some errors roll back by themselves */
        database_run(database, database_statement(database, STATEMENT_ROLLBACK, 0));
    database->why = why;
    database_unlock_writers(database);
}
