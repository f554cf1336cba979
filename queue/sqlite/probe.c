/* One small synced write, to see whether the queue can be written at all. */
#include "queue/sqlite/reserve.h"
#include "queue/sqlite/store.h"

#include "base/clock.h"

bool store_probe(void *state, struct error *why)
{
    struct store *store = state;
    struct database *database = &store->group.database;
    if (store->group.started) { /* its writer has the connection, and shows better than this what works */
        error_set(why, "this queue is appended to");
        return false;
    }
    enum database_result result = database_begin(database);
    if (result == DATABASE_DONE) {
        sqlite3_stmt *set = database_statement(database, STATEMENT_SET_COUNT, 0);
        if (set != NULL) {
            sqlite3_bind_int64(set, 1, 0); /* of no source */
            sqlite3_bind_int64(set, 2, COUNT_PROBED);
            sqlite3_bind_int64(set, 3, clock_unix_ms());
        }
        result = database_run(database, set);
        if (result == DATABASE_DONE)
            result = database_commit(database);
        else
            database_rollback(database);
    }
    if (result == DATABASE_DONE) {
        wake_send(store->directory, &store->group.wake_fd); /* the log has grown, also where nothing comes */
        if (reserve_is_there(store->directory) && no_room_of(store->directory) != 0)
            no_room_note(store->directory, 0);
        return true;
    }
    *why = database->why;
    if (result == DATABASE_DAMAGED || result == DATABASE_NEWER)
        store_failed(store, result, why);
    return false;
}
