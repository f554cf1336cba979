/* Reading events: in order, or again by their ids. No read transaction outlives a call. */
#include "queue/sqlite/store.h"

/* Takes the row the statement stands on. Returns 1; 0 when it would go beyond max_bytes; -1 when memory is out. */
static int take_row(sqlite3_stmt *row, size_t max_bytes, struct events *found)
{
    size_t length = (size_t)sqlite3_column_bytes(row, 3);
    if (found->count > 0 && found->bodies.length + length > max_bytes)
        return 0;
    struct event event = {
        .id = (uint64_t)sqlite3_column_int64(row, 0),
        .received_ms = sqlite3_column_int64(row, 1),
        .replay = sqlite3_column_type(row, 2) != SQLITE_NULL,
        .body = sqlite3_column_blob(row, 3),
        .length = length,
    };
    return events_add(found, &event) ? 1 : -1;
}

static int take_failed(struct store *store, enum database_result result, struct error *why)
{
    if (why != NULL)
        *why = store->reader.why;
    store_failed(store, result, &store->reader.why);
    return -1;
}

static int finish_take(struct store *store, struct events *found, enum database_result result, int took,
                       struct error *why)
{
    if (result != DATABASE_DONE)
        return take_failed(store, result, why);
    if (took < 0 && found->count == 0) {
        error_set(why, "out of memory");
        return -1;
    }
    events_finish(found);
    return (int)found->count;
}

int store_next(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
               struct events *found, struct error *why)
{
    struct store *store = state;
    enum database_result result = DATABASE_DONE;
    int took = 1;
    events_clear(found);
    if (!store_reader(store, why))
        return -1;
    uint32_t number = store_number(store, source);
    if (number == 0)
        return 0;
    sqlite3_stmt *next = database_statement(&store->reader, STATEMENT_NEXT, number);
    if (next != NULL)
        sqlite3_bind_int64(next, 1, (int64_t)after);
    while (took > 0 && found->count < max_count && database_step(&store->reader, next, &result) == SQLITE_ROW)
        took = take_row(next, max_bytes, found);
    sqlite3_reset(next);
    if (store->owned && found->count > 0)
        housekeeper_call(store); /* somebody wrote */
    return finish_take(store, found, result, took, why);
}

int store_again(void *state, const char *source, const uint64_t *ids, size_t count, size_t max_bytes,
                struct events *found, size_t *asked, struct error *why)
{
    struct store *store = state;
    enum database_result result = DATABASE_DONE;
    int took = 1;
    *asked = 0;
    events_clear(found);
    if (!store_reader(store, why))
        return -1;
    sqlite3_stmt *one = database_statement(&store->reader, STATEMENT_ONE, store_number(store, source));
    /* One transaction for all: each alone would lock and look at the log's end anew. */
    sqlite3_exec(store->reader.db, "BEGIN", NULL, NULL, NULL);
    for (; *asked < count; ++*asked) {
        if (one != NULL)
            sqlite3_bind_int64(one, 1, (int64_t)ids[*asked]);
        int step = database_step(&store->reader, one, &result);
        took = step == SQLITE_ROW ? take_row(one, max_bytes, found) : 1;
        sqlite3_reset(one);
        if (result != DATABASE_DONE || took <= 0)
            break;
    }
    sqlite3_exec(store->reader.db, "COMMIT", NULL, NULL, NULL);
    return finish_take(store, found, result, took, why);
}
