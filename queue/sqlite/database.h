/* One connection to the queue's database: opening it as its file system allows, transactions that queue fairly between
 * processes, prepared statements. Used by one thread at a time. */
#ifndef QUEUE_SQLITE_DATABASE_H
#define QUEUE_SQLITE_DATABASE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* How an operation ended. What is not DONE has a reason in the connection's `why`. */
enum database_result {
    DATABASE_DONE,
    DATABASE_FULL,    /* nothing more can be written: see base/no_room.h; the errno is in the connection's `error` */
    DATABASE_DAMAGED, /* SQLite says corrupt, or no database: never a matter of busy, full or I/O */
    DATABASE_NEWER,   /* another release has migrated it meanwhile */
    DATABASE_FAILED,  /* all else; trying again may help */
};

/* The statements; those of one source have %u for its number. database.c has their text. */
enum statement {
    STATEMENT_BEGIN,
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
    STATEMENT_DELETE_JOURNAL,
    STATEMENT_ADD_KNOWN,
    STATEMENT_FIND_KNOWN,
    STATEMENT_PRUNE_KNOWN,
    STATEMENT_KNOWN_KEYS,
    STATEMENT_KNOWN_AFTER,
    STATEMENT_SIGNED,
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
    STATEMENT_LETTER_DIED_AGAIN,
    STATEMENT_RESOLVE_KEY,
    STATEMENT_RESOLVE_LETTER,
    STATEMENT_MOVE_LETTERS,
    STATEMENT_NOTE,
    STATEMENT_SET_NOTE,
    STATEMENT_PARKED,
    STATEMENT_ADD_PARKED,
    STATEMENT_CLEAR_PARKED,
    STATEMENT_APPEND, /* from here on: of one source */
    STATEMENT_NEXT,
    STATEMENT_ONE,
    STATEMENT_EXISTS,
    STATEMENT_LETTERS_IN,
    STATEMENT_DELETE,
    STATEMENT_ADD_LETTER,
    STATEMENT_OLDEST,
    STATEMENT_NEWEST,
    STATEMENT_FIRST_BODIES,
    STATEMENT_REPLAY,
    STATEMENT_MOVE_UP_TO,
    STATEMENTS
};

struct source_statements {
    uint32_t number;
    sqlite3_stmt *at[STATEMENTS];
};

struct database {
    sqlite3 *db;
    char *lock_path; /* of the file on which writers queue; NULL: none, a database of its own */
    int write_lock;  /* its descriptor */
    bool wal;        /* else a rollback journal: the file system may be remote */
    struct source_statements *sources;
    size_t source_count;
    int error;        /* errno of the last DATABASE_FULL */
    struct error why; /* of the last result that was not DONE */
};

/* The one place that opens a database file. Nothing else in a process may open queue.db, queue.db-wal or queue.db-shm,
 * for whatever purpose, while a connection may have them open: POSIX drops all fcntl locks that a process holds on a
 * file as soon as the process closes any descriptor of that file (sqlite.org/howtocorrupt.html, 2.2). The file must
 * exist. Deleted rows are overwritten where that costs no writing (secure_delete = FAST). Returns DONE or the result
 * with the reason in `why`; then, too, call database_close. */
enum database_result database_connect(struct database *database, const char *path);

/* The same for a copy that is no process's queue, read only; uri: a name as in sqlite.org/uri.html. */
enum database_result database_connect_copy(struct database *database, const char *uri);

/* The same for a queue that is only looked at, read only: nothing is copied out of its log. */
enum database_result database_connect_to_look(struct database *database, const char *path);

/* Sets the journal mode that the file system of a directory allows, and database->wal. */
enum database_result database_set_journal_mode(struct database *database, const char *directory);

/* Opens the file in a state directory, as its file system allows. durable: each commit is synced; else a power cut may
 * undo the last ones, in order, and nothing else. Returns DONE or the result with the reason; then, too, call
 * database_close. schema_open is what others call. */
enum database_result database_open(struct database *database, const char *directory, bool durable);

/* Never checkpoints: that is the housekeeper's. */
void database_close(struct database *database);

/* Locks out all writers of all processes, for what is no transaction. wait: else false at once while one writes.
 * Returns false with the reason when it cannot. */
bool database_lock_writers(struct database *database, bool wait);
void database_unlock_writers(struct database *database);

/* Begins a writing transaction, after all who asked before in any process. On anything but DONE none is begun. */
enum database_result database_begin(struct database *database);

/* Ends it. On anything but DONE it is rolled back. */
enum database_result database_commit(struct database *database);

void database_rollback(struct database *database);

/* The statement, ready to be bound; NULL, with the reason, when it cannot be prepared. number: of the source, 0 for
 * statements that have none. */
sqlite3_stmt *database_statement(struct database *database, enum statement statement, uint32_t number);

/* Steps a statement that returns no rows, and resets it. NULL is allowed: the reason is there already. */
enum database_result database_run(struct database *database, sqlite3_stmt *statement);

/* Steps a statement. Returns SQLITE_ROW or SQLITE_DONE; else the result is in *result, and the statement is reset. */
int database_step(struct database *database, sqlite3_stmt *statement, enum database_result *result);

/* What SQLite's code means, with the connection's words in `why`. */
enum database_result database_result_of(struct database *database, int code);

/* A single number: of a statement without parameters. 0 when there is no row; the result in *result. */
int64_t database_number(struct database *database, enum statement statement, enum database_result *result);

#define SCHEMA_VERSION 1

/* schema.c: makes a new database file with all tables at directory/name, where no file may be; synced, closed, mode
 * 0600, with the journal mode that the file system allows and no file beside it, so that it can be linked or renamed
 * into place. Returns DONE, or the result with the reason; then nothing is left there. */
enum database_result schema_make_file(const char *directory, const char *name, struct error *why);

/* Whether there is no database in the directory: none at all, or an empty file beside a log that has something in it,
 * which SQLite would delete. */
bool schema_is_missing(const char *directory);

/* Makes directory/queue.db unless there is one: under another name first, then linked into place, so that a half-made
 * database is never seen and no file that SQLite has open is touched. Any process, any number of times. Returns DONE,
 * or the result with the reason. */
enum database_result schema_make(const char *directory, struct error *why);

/* schema.c: database_open, and makes or migrates the tables where needed. */
enum database_result schema_open(struct database *database, const char *directory, bool durable);

/* Writes the statement that makes the table of the waiting events of the source with that number. */
void schema_events_text(char *out, size_t size, uint32_t number);

/* Makes that table; within a transaction. */
enum database_result schema_make_events(struct database *database, uint32_t number);

/* Makes the table of a source, unless it is there. */
enum database_result schema_add_source(struct database *database, const char *name, uint32_t *number);

#endif
