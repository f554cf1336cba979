/* Whether the queue can be written: a probe for health checks, and the process's limit on the size of files. */
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "queue/sqlite/reserve.h"
#include "queue/sqlite/store.h"

#include <errno.h>

#define SIZE_MARGIN_MOST ((int64_t)64 * 1024 * 1024) /* kept below the limit on file size for a group and settling */

/* The database must never reach the process's limit on file size (ulimit -f): the log could not be copied into it any
 * more, and nothing could be settled. Free pages inside hold events too. */
static bool is_at_size_limit(const struct store *store, int64_t pages, int64_t unused)
{
    if (store->file_limit == INT64_MAX)
        return false;
    int64_t margin = store->file_limit / 4 < SIZE_MARGIN_MOST ? store->file_limit / 4 : SIZE_MARGIN_MOST;
    return pages * DATABASE_PAGE > store->file_limit - margin && unused * DATABASE_PAGE < margin;
}

enum database_result store_check_size(struct store *store, int64_t pages, int64_t unused)
{
    struct database *database = &store->group.database;
    if (!is_at_size_limit(store, pages, unused))
        return DATABASE_DONE;
    error_set(&database->why, "%s: %s", no_room_words(EFBIG), no_room_advice(EFBIG));
    database->error = EFBIG;
    return DATABASE_FULL;
}

/* In a transaction: writes the moment of now, where an event could be written too. */
static enum database_result try_to_write(struct store *store)
{
    struct database *database = &store->group.database;
    enum database_result result;
    int64_t pages = database_number(database, STATEMENT_PAGES, &result);
    int64_t unused = result == DATABASE_DONE ? database_number(database, STATEMENT_FREE_PAGES, &result) : 0;
    if (result == DATABASE_DONE)
        result = store_check_size(store, pages, unused);
    sqlite3_stmt *set = result == DATABASE_DONE ? database_statement(database, STATEMENT_SET_COUNT, 0) : NULL;
    if (result != DATABASE_DONE)
        return result;
    if (set != NULL) {
        sqlite3_bind_int64(set, 1, 0); /* no source */
        sqlite3_bind_int64(set, 2, COUNT_PROBED);
        sqlite3_bind_int64(set, 3, clock_unix_ms());
    }
    return database_run(database, set);
}

/* A limit on files is a process's own: one without it cannot say that those with it have room again. */
static void note_probed(struct store *store, bool serves)
{
    int error = reserve_is_there(store->directory) ? no_room_of(store->directory) : 0;
    if (error != 0 && (error != EFBIG || serves))
        no_room_note(store->directory, 0);
}

bool store_probe(void *state, bool serves, struct error *why)
{
    struct store *store = state;
    struct database *database = &store->group.database;
    if (!store_is_in_place(store, why)) /* the writer may use the connection: it saves what the old files hold */
        return false;
    if (store->group.started) { /* its result is the better test */
        error_set(why, "not tested: events are being stored");
        return false;
    }
    enum database_result result = database_begin(database);
    if (result == DATABASE_DONE) {
        result = try_to_write(store);
        if (result == DATABASE_DONE)
            result = database_commit(database);
        else
            database_rollback(database);
    }
    if (result == DATABASE_DONE) {
        wake_send(store->directory, &store->group.wake_fd); /* the log has grown, although no event was appended */
        note_probed(store, serves);
        return true;
    }
    *why = database->why;
    if (result == DATABASE_FULL && database->error == EFBIG)
        no_room_note(store->directory, EFBIG); /* before an event is refused, and as long as it lasts */
    if (result == DATABASE_DAMAGED || result == DATABASE_NEWER)
        store_failed(store, result, why);
    return false;
}

/* Under a limit on files that the queue has reached already: says so at once, for all processes, and not only when an
 * event is refused. What is written is undone. */
void store_look_at_limit(struct store *store)
{
    struct database *database = &store->group.database;
    if (store->file_limit == INT64_MAX || database_begin(database) != DATABASE_DONE)
        return;
    enum database_result result = try_to_write(store);
    int code = result == DATABASE_DONE ? sqlite3_db_cacheflush(database->db) : SQLITE_BUSY;
    if (code != SQLITE_BUSY) /* busy with readers, without a log: then it is not known */
        result = database_result_of(database, code);
    int error = database->error;
    database_rollback(database);
    if (result != DATABASE_FULL || error != EFBIG)
        return;
    bool said = no_room_of(store->directory) == EFBIG; /* by this process's other connections */
    no_room_note(store->directory, EFBIG);
    if (!said)
        log_write(
            LEVEL_ERROR,
            "msg=file_limit_reached state_dir=\"%s\" limit_bytes=%lld reason=\"queue.db or its log has reached the "
            "limit on the size of files (ulimit -f)\" advice=\"set it to unlimited, or to 64 MiB more than "
            "queue_max_bytes, "
            "where the web server starts the program: until then Close is answered 503 and keeps new events, and what "
            "waits is "
            "sent only as far as it can be noted as delivered\"",
            store->directory, (long long)store->file_limit);
}
