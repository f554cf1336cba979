/* The tables of the queue, their version, and how an older one becomes this one. A release migrates only what its
 * predecessor can still read: old and new processes share the database for a while. */
#include <stdio.h>
#include <string.h>

#include "queue/sqlite/database.h"

/* Events have a table for each source (schema_add_source): a source whose data plane is away does not lie in the way
 * of another's reading. AUTOINCREMENT: an id is never used twice, and the last one ever given counts what was
 * accepted. */
static const char version_1[] =
    "CREATE TABLE source (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
    "CREATE TABLE count (source INTEGER NOT NULL, kind INTEGER NOT NULL, n INTEGER NOT NULL,"
    " PRIMARY KEY (source, kind)) WITHOUT ROWID;"
    /* identities of settled events, as they come; merged into known in bulk: a random key written per event would
     * dirty a page per event */
    "CREATE TABLE journal (n INTEGER PRIMARY KEY, source INTEGER NOT NULL, key BLOB NOT NULL,"
    " updated INTEGER NOT NULL, at INTEGER NOT NULL);"
    "CREATE TABLE known (source INTEGER NOT NULL, key BLOB NOT NULL, updated INTEGER NOT NULL, at INTEGER NOT NULL,"
    " PRIMARY KEY (source, key)) WITHOUT ROWID;"
    /* dead letters; key NULL: without an identity; replayed: since when it is on its way again */
    "CREATE TABLE letter (id INTEGER PRIMARY KEY AUTOINCREMENT, source INTEGER NOT NULL, key BLOB, updated INTEGER,"
    " received INTEGER NOT NULL, died INTEGER NOT NULL, replayed INTEGER, reason TEXT NOT NULL, body BLOB NOT NULL);"
    "CREATE INDEX letter_key ON letter (source, key);"
    "CREATE TABLE note (source INTEGER PRIMARY KEY, tries INTEGER NOT NULL, since INTEGER NOT NULL,"
    " next INTEGER NOT NULL, operator INTEGER NOT NULL, made_with INTEGER NOT NULL, reason TEXT NOT NULL);"
    "CREATE TABLE parked (source INTEGER NOT NULL, id INTEGER NOT NULL, since INTEGER NOT NULL,"
    " PRIMARY KEY (source, id)) WITHOUT ROWID;"
    "PRAGMA user_version = 1";

static enum database_result execute(struct database *database, const char *text)
{
    return database_result_of(database, sqlite3_exec(database->db, text, NULL, NULL, NULL));
}

static enum database_result make(struct database *database)
{
    enum database_result result = execute(database, "BEGIN IMMEDIATE");
    if (result != DATABASE_DONE)
        return result;
    int64_t version = database_number(database, STATEMENT_VERSION, &result);
    if (result == DATABASE_DONE && version == 0) /* nobody else was faster */
        result = execute(database, version_1);
    if (result == DATABASE_DONE)
        return execute(database, "COMMIT");
    struct why why = database->why;
    execute(database, "ROLLBACK");
    database->why = why;
    return result;
}

static enum database_result prepare(struct database *database)
{
    enum database_result result;
    int64_t version = database_number(database, STATEMENT_VERSION, &result);
    if (result != DATABASE_DONE || version == SCHEMA_VERSION)
        return result;
    if (version > SCHEMA_VERSION) {
        why_set(&database->why,
                "the queue has version %lld, made by a newer release; this one knows %d: install the "
                "newer release again, or let it deliver what waits",
                (long long)version, SCHEMA_VERSION);
        return DATABASE_NEWER;
    }
    return make(database);
}

enum database_result schema_open(struct database *database, const char *directory, bool durable)
{
    enum database_result result = database_open(database, directory, durable);
    return result == DATABASE_DONE ? prepare(database) : result;
}

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

static enum database_result make_source(struct database *database, const char *name, uint32_t *number)
{
    char text[256];
    sqlite3_stmt *add = database_statement(database, STATEMENT_ADD_SOURCE, 0);
    if (add != NULL)
        sqlite3_bind_text(add, 1, name, -1, SQLITE_STATIC);
    enum database_result result = database_run(database, add);
    if (result != DATABASE_DONE)
        return result;
    *number = (uint32_t)sqlite3_last_insert_rowid(database->db);
    snprintf(text, sizeof text,
             "CREATE TABLE event_%u (id INTEGER PRIMARY KEY AUTOINCREMENT, received INTEGER NOT NULL,"
             " letter INTEGER, body BLOB NOT NULL)",
             (unsigned)*number);
    return execute(database, text);
}

enum database_result schema_add_source(struct database *database, const char *name, uint32_t *number)
{
    enum database_result result = find_source(database, name, number);
    if (result != DATABASE_DONE || *number != 0)
        return result;
    result = database_begin(database);
    if (result != DATABASE_DONE)
        return result;
    result = find_source(database, name, number); /* now nobody else can add it */
    if (result == DATABASE_DONE && *number == 0)
        result = make_source(database, name, number);
    if (result == DATABASE_DONE)
        return database_commit(database);
    database_rollback(database);
    return result;
}
