/* The note that a source had a signature key, in the database: store_note_signed of store.h. It is read and written
 * when a queue is opened, before anybody is let in. */
#include "config/signed.h"
#include "base/log.h"
#include "queue/sqlite/store.h"

static enum database_result is_noted(struct database *database, uint32_t number, bool *noted)
{
    enum database_result result;
    sqlite3_stmt *find = database_statement(database, STATEMENT_SIGNED, 0);
    if (find != NULL)
        sqlite3_bind_int64(find, 1, number);
    *noted = database_step(database, find, &result) == SQLITE_ROW && sqlite3_column_int64(find, 0) != 0;
    if (result == DATABASE_DONE)
        sqlite3_reset(find);
    return result;
}

static enum database_result note(struct database *database, uint32_t number)
{
    enum database_result result = database_begin(database);
    if (result != DATABASE_DONE)
        return result;
    sqlite3_stmt *set = database_statement(database, STATEMENT_SET_COUNT, 0);
    if (set != NULL) {
        sqlite3_bind_int64(set, 1, number);
        sqlite3_bind_int64(set, 2, COUNT_SIGNED);
        sqlite3_bind_int64(set, 3, 1);
    }
    result = database_run(database, set);
    if (result == DATABASE_DONE)
        return database_commit(database);
    database_rollback(database);
    return result;
}

/* What cannot be written now, on a full disk, is written at another time; the other note is there. */
enum database_result store_note_signed(struct store *store, const struct source *source, uint32_t number)
{
    struct database *database = &store->group.database;
    struct error why = {0};
    bool in_database;
    enum database_result result = is_noted(database, number, &in_database);
    if (result != DATABASE_DONE)
        return result;
    bool beside = source->signature_keys > 0 || signed_is_noted(store->directory, source->name);
    if (in_database && !beside && !signed_note(store->directory, source->name, NULL, &why))
        log_write(LEVEL_WARN, "msg=not_noted source=%s reason=\"%s\"", source->name, why.text);
    if (!in_database && beside && note(database, number) != DATABASE_DONE)
        log_write(LEVEL_WARN, "msg=not_noted source=%s reason=\"%s\"", source->name, database->why.text);
    return DATABASE_DONE;
}
