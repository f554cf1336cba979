/* A connection to the queue's database: opening for the file system's capabilities, fair write transactions across
 * processes, prepared statements. One thread at a time. */
#ifndef QUEUE_SQLITE_DATABASE_H
#define QUEUE_SQLITE_DATABASE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"

#define DATABASE_PAGE 16384 /* bytes; see PRAGMA page_size in database.c */

/* The result of an operation. All but DONE have a reason in the connection's `why`. */
enum database_result {
    DATABASE_DONE,
    DATABASE_FULL,    /* no space to write: see base/error.h; the errno is in the connection's `error` */
    DATABASE_DAMAGED, /* SQLite reports corrupt or not a database; never for busy, full or I/O errors */
    DATABASE_NEWER,   /* another release has migrated the schema meanwhile */
    DATABASE_FAILED,  /* any other error; trying again may help */
};

/* The statements; their text is in statements.c. Those of one source have %u for its number. */
enum statement {
    STATEMENT_BEGIN,
    STATEMENT_BEGIN_READING,
    STATEMENT_COMMIT,
    STATEMENT_ROLLBACK,
    STATEMENT_VERSION,
    STATEMENT_DATA_VERSION,
    STATEMENT_PAGES,
    STATEMENT_FREE_PAGES,
    STATEMENT_ADDITIONS,
    STATEMENT_ASK,
    STATEMENT_ANSWER,
    STATEMENT_WITHDRAW,
    STATEMENT_NEXT_REQUEST,
    STATEMENT_SET_REQUEST,
    STATEMENT_FORGET_REQUESTS,
    STATEMENT_ADD_SOURCE,
    STATEMENT_SOURCE_NUMBER,
    STATEMENT_SOURCE_NAME,
    STATEMENT_SOURCES,
    STATEMENT_ADD_COUNT,
    STATEMENT_SET_COUNT,
    STATEMENT_COUNTS,
    STATEMENT_SEQUENCE,
    STATEMENT_ADD_JOURNAL,
    STATEMENT_JOURNAL,
    STATEMENT_JOURNAL_AFTER,
    STATEMENT_JOURNAL_FIRST,
    STATEMENT_JOURNAL_LAST,
    STATEMENT_JOURNAL_ROW,
    STATEMENT_DELETE_JOURNAL,
    STATEMENT_ADD_KNOWN,
    STATEMENT_FIND_KNOWN,
    STATEMENT_PRUNE_KNOWN,
    STATEMENT_KNOWN_COUNT,
    STATEMENT_KNOWN_KEYS,
    STATEMENT_KNOWN_AFTER,
    STATEMENT_SIGNED,
    STATEMENT_DATABASE,
    STATEMENT_MOVES,
    STATEMENT_MOVE_KNOWN_UP_TO,
    STATEMENT_MOVE_KNOWN,
    STATEMENT_MOVE_KNOWN_AWAY,
    STATEMENT_MOVE_JOURNAL,
    STATEMENT_ANY_LETTER,
    STATEMENT_FIND_DEAD,
    STATEMENT_LETTERS,
    STATEMENT_LETTERS_OF,
    STATEMENT_LETTER,
    STATEMENT_LETTER_COUNT,
    STATEMENT_LETTER_BYTES,
    STATEMENT_LETTERS_SINCE,
    STATEMENT_LETTERS_OLDER,
    STATEMENT_LETTERS_OLDEST,
    STATEMENT_LETTER_ON_ITS_WAY,
    STATEMENT_ADD_LETTER,
    STATEMENT_RESOLVE_KEY,
    STATEMENT_RESOLVE_LETTER,
    STATEMENT_KEEP_KEY,
    STATEMENT_MOVE_LETTERS,
    STATEMENT_NOTE,
    STATEMENT_SET_NOTE,
    STATEMENT_PARKED,
    STATEMENT_ADD_PARKED,
    STATEMENT_CLEAR_PARKED,
    STATEMENT_APPEND, /* from here on: of one source */
    STATEMENT_NEXT,
    STATEMENT_ONE,
    STATEMENT_RECEIVED,
    STATEMENT_LETTERS_IN,
    STATEMENT_DELETE,
    STATEMENT_OLDEST,
    STATEMENT_NEWEST,
    STATEMENT_FIRST_BODIES,
    STATEMENT_REPLAY,
    STATEMENT_MOVE_UP_TO,
    STATEMENTS
};

/* The text of each, in statements.c. */
extern const char *const statement_texts[STATEMENTS];

struct source_statements {
    uint32_t number;
    sqlite3_stmt *at[STATEMENTS];
};

struct database {
    sqlite3 *db;
    char *lock_path; /* of the file on which writers queue; NULL: a private database */
    int write_lock;  /* its descriptor */
    bool wal;        /* else a rollback journal, as the file system may be remote */
    struct source_statements *sources;
    size_t source_count;
    moment room_looked;     /* when the file system's room was last asked for; 0: never */
    bool room_short;        /* what it said */
    bool holds_checkpoints; /* SQLite's lock of checkpoints, while it commits with room that it has taken */
    int error;              /* errno of the last DATABASE_FULL; of a FAILED one ENOMEM or EIO */
    struct error why;       /* of the last result that was not DONE */
};

/* The only function that opens a live database file. Nothing else in a process may open queue.db, queue.db-wal or
 * queue.db-shm while a connection may have them open: POSIX drops all fcntl locks that a process holds on a file when
 * it closes any descriptor of that file (sqlite.org/howtocorrupt.html, 2.2). The file must exist. Deleted rows are
 * overwritten where that costs no extra write (secure_delete = FAST). Returns DONE, or the result with the reason in
 * `why`; call database_close in either case. */
enum database_result database_connect(struct database *database, const char *path);

/* The same, read only, for a copy that no process uses as its queue; uri: see sqlite.org/uri.html. */
enum database_result database_connect_copy(struct database *database, const char *uri);

/* The same, read only, for inspecting a queue: never checkpoints. */
enum database_result database_connect_to_look(struct database *database, const char *path);

/* directory.c: sets the journal mode that the directory's file system allows, and database->wal. */
enum database_result database_set_journal_mode(struct database *database, const char *directory);

/* Opens the database of a state directory with the journal mode its file system allows. durable: each commit is synced;
 * else a power cut may undo the last commits, in order, and nothing else. Returns DONE or the result with the reason;
 * call database_close in either case. Callers want schema_open. */
enum database_result database_open(struct database *database, const char *directory, bool durable);

/* From the next transaction on each commit is synced, or not (database_open); a synced one syncs those before it, also
 * of other connections. Outside of a transaction. */
enum database_result database_sync_commits(struct database *database, bool durable);

/* Closes without a checkpoint: the housekeeper does those. */
void database_close(struct database *database);

/* Locks out all writers of all processes, for work outside a transaction. wait: else returns false at once while
 * another writes. Returns false with the reason on failure. */
bool database_lock_writers(struct database *database, bool wait);
void database_unlock_writers(struct database *database);

/* Begins a write transaction, in the order in which the processes asked. On anything but DONE there is no transaction.
 */
enum database_result database_begin(struct database *database);

/* Commits. On anything but DONE the transaction is rolled back. */
enum database_result database_commit(struct database *database);

void database_rollback(struct database *database);

/* Begins a transaction that reads: all until its end is of one moment. On anything but DONE there is none. */
enum database_result database_begin_reading(struct database *database);

/* Works without memory. Keeps `why`. */
void database_end_reading(struct database *database);

/* Ends a transaction by what became of it: commits when DONE, else rolls back. Returns what became of it in the end. */
enum database_result database_end(struct database *database, enum database_result result);

/* The prepared statement, reset for binding; NULL with the reason when it cannot be prepared. number: of the source, 0
 * for statements that have none. */
sqlite3_stmt *database_statement(struct database *database, enum statement statement, uint32_t number);

/* Runs a statement that returns no rows, and resets it. NULL is allowed: `why` has the reason already. */
enum database_result database_run(struct database *database, sqlite3_stmt *statement);

/* Steps a statement. Returns SQLITE_ROW or SQLITE_DONE; on an error the result is in *result, and the statement is
 * reset. */
int database_step(struct database *database, sqlite3_stmt *statement, enum database_result *result);

/* room.c: translates an SQLite result code, with the reason in `why`. */
enum database_result database_result_of(struct database *database, int code);

/* Runs a statement without parameters that returns one number; 0 when there is no row; the result in *result. */
int64_t database_number(struct database *database, enum statement statement, enum database_result *result);

#define DATABASE_TEXT 32

/* Runs SQL that returns a short text, as a PRAGMA does; out keeps its content when there is none. Returns SQLite's
 * code.
 */
int database_ask_text(struct database *database, const char *sql, char out[static DATABASE_TEXT]);

/* ---- statements with numbers only ---- */

/* Runs a statement with these parameters. number: of the source. */
enum database_result database_run_with(struct database *database, enum statement statement, uint32_t number,
                                       const int64_t *values, size_t count);

/* Runs a statement with one parameter or none that returns one number; 0 without a row. */
enum database_result database_ask_with(struct database *database, enum statement statement, uint32_t number,
                                       int64_t value, int64_t *answer);

/* Runs a bound statement in a transaction of its own. *changes (may be NULL): rows changed. */
enum database_result database_run_alone(struct database *database, sqlite3_stmt *statement, int *changes);

#define SCHEMA_VERSION 1

/* The version of a queue that is moved to another engine, or was, and which no process opens; older releases take it
 * for a newer one's. The table `migration` says more. */
#define SCHEMA_MIGRATES 1000

/* migrate.c: whether a queue is such a one; `why` says so. */
bool migrates_is_marked(struct database *database);

/* migrate.c: whether what a database has is in another engine's queue now; whether it came from there, and may still be
 * that one's: `why` says so. */
bool migrates_has_left(struct database *database);
bool migrates_receives(struct database *database);

/* schema.c: creates directory/name with all tables; the file must not exist. Synced, closed, mode 0600, with the
 * journal mode that the file system allows and no file beside it, so that it can be linked or renamed into place.
 * Returns DONE, or the result with the reason after removing the file. */
enum database_result schema_make_file(const char *directory, const char *name, struct error *why);

/* Whether the directory has no database: none at all, or an empty file beside a non-empty log, which SQLite would
 * delete. */
bool schema_is_missing(const char *directory);

/* Creates directory/queue.db unless it exists: under another name first, then linked into place, so that an incomplete
 * database is never visible and no file that SQLite has open is touched. Any process, any number of times. Returns
 * DONE, or the result with the reason. */
enum database_result schema_make(const char *directory, struct error *why);

/* schema.c: database_open, then creates or migrates the tables where needed. */
enum database_result schema_open(struct database *database, const char *directory, bool durable);

/* Writes the SQL that creates the table of waiting events of the source with that number. */
void schema_events_text(char *out, size_t size, uint32_t number);

/* Creates that table; within a transaction. */
enum database_result schema_make_events(struct database *database, uint32_t number);

/* Adds a source with its table unless it exists. */
enum database_result schema_add_source(struct database *database, const char *name, uint32_t *number);

#endif
