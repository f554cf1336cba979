/* Requests of commands to the owner, and its answers: rows of the table `request`. The owner reads the table only after
 * a request's own byte in the FIFO, so that no requests cost nothing. A command that died leaves a row, which is
 * deleted after a minute. */
#include <string.h>

#include "queue/sqlite/store.h"

#define FORGET_MS 60000

enum { ASKED = 0, TAKEN = 1, DONE = 2, REFUSED = 3 };

/* Runs a bound statement in its own transaction. *changes: rows changed. */
static enum database_result run_alone(struct database *database, sqlite3_stmt *statement, int *changes)
{
    enum database_result result = statement == NULL ? DATABASE_FAILED : database_begin(database);
    if (result != DATABASE_DONE)
        return result;
    result = database_run(database, statement);
    *changes = sqlite3_changes(database->db);
    if (result == DATABASE_DONE)
        return database_commit(database);
    database_rollback(database);
    return result;
}

/* ---- the command's side ---- */

bool store_ask(void *state, const struct queue_request *request, int64_t *number, struct error *why)
{
    struct store *store = state;
    int changes;
    if (!store_reader(store, why))
        return false;
    sqlite3_stmt *ask = database_statement(&store->reader, STATEMENT_ASK, 0);
    if (ask != NULL) {
        sqlite3_bind_text(ask, 1, request->source, -1, SQLITE_STATIC);
        sqlite3_bind_int64(ask, 2, (int64_t)request->event);
        sqlite3_bind_int64(ask, 3, clock_unix_ms());
        if (request->remember)
            sqlite3_bind_blob(ask, 4, request->identity.key, sizeof request->identity.key, SQLITE_STATIC);
        else
            sqlite3_bind_null(ask, 4);
        sqlite3_bind_int64(ask, 5, request->identity.updated_us);
    }
    enum database_result result = run_alone(&store->reader, ask, &changes);
    *number = result == DATABASE_DONE ? sqlite3_last_insert_rowid(store->reader.db) : 0;
    return result == DATABASE_DONE || store_reader_failed(store, result, why);
}

void store_remind(void *state)
{
    struct store *store = state;
    wake_ask(store->directory, &store->group.wake_fd);
}

bool store_answer(void *state, int64_t number, enum queue_answer *answer, struct error *words, struct error *why)
{
    static const enum queue_answer answers[] = {QUEUE_ASKED, QUEUE_TAKEN, QUEUE_DONE, QUEUE_REFUSED};
    struct store *store = state;
    enum database_result result;
    *answer = QUEUE_REFUSED;
    error_set(words, "the request was forgotten");
    if (!store_reader(store, why))
        return false;
    sqlite3_stmt *read = database_statement(&store->reader, STATEMENT_ANSWER, 0);
    if (read != NULL)
        sqlite3_bind_int64(read, 1, number);
    if (database_step(&store->reader, read, &result) == SQLITE_ROW) {
        int64_t found = sqlite3_column_int64(read, 0);
        const char *text = (const char *)sqlite3_column_text(read, 1);
        *answer = answers[found >= ASKED && found <= REFUSED ? found : REFUSED];
        error_set(words, "%s", text == NULL ? "" : text);
    }
    if (result == DATABASE_DONE)
        sqlite3_reset(read);
    return result == DATABASE_DONE || store_reader_failed(store, result, why);
}

bool store_withdraw(void *state, int64_t number, bool always, bool *withdrawn, struct error *why)
{
    struct store *store = state;
    int changes = 0;
    if (!store_reader(store, why))
        return false;
    sqlite3_stmt *withdraw = database_statement(&store->reader, STATEMENT_WITHDRAW, 0);
    if (withdraw != NULL) {
        sqlite3_bind_int64(withdraw, 1, number);
        sqlite3_bind_int64(withdraw, 2, always);
    }
    enum database_result result = run_alone(&store->reader, withdraw, &changes);
    *withdrawn = changes > 0;
    return result == DATABASE_DONE || store_reader_failed(store, result, why);
}

/* ---- the owner's side ---- */

static enum database_result forget_old(struct database *database)
{
    int changes;
    int64_t now = clock_unix_ms();
    sqlite3_stmt *forget = database_statement(database, STATEMENT_FORGET_REQUESTS, 0);
    if (forget != NULL) {
        sqlite3_bind_int64(forget, 1, now - FORGET_MS);
        sqlite3_bind_int64(forget, 2, now + FORGET_MS);
    }
    return run_alone(database, forget, &changes);
}

static bool find_next(struct database *database, struct queue_request *request, enum database_result *result)
{
    sqlite3_stmt *next = database_statement(database, STATEMENT_NEXT_REQUEST, 0);
    bool found = database_step(database, next, result) == SQLITE_ROW;
    if (found) {
        const char *source = (const char *)sqlite3_column_text(next, 1);
        *request = (struct queue_request){.number = sqlite3_column_int64(next, 0),
                                          .event = (uint64_t)sqlite3_column_int64(next, 2),
                                          .identity = {.updated_us = sqlite3_column_int64(next, 4)}};
        strncpy(request->source, source == NULL ? "" : source, sizeof request->source - 1);
        request->remember = sqlite3_column_bytes(next, 3) == (int)sizeof request->identity.key;
        if (request->remember)
            memcpy(request->identity.key, sqlite3_column_blob(next, 3), sizeof request->identity.key);
    }
    if (*result == DATABASE_DONE)
        sqlite3_reset(next);
    return found;
}

static enum database_result set_state(struct database *database, int64_t number, int from, int to, const char *words,
                                      int *changes)
{
    sqlite3_stmt *set = database_statement(database, STATEMENT_SET_REQUEST, 0);
    if (set != NULL) {
        sqlite3_bind_int64(set, 1, number);
        sqlite3_bind_int64(set, 2, from);
        sqlite3_bind_int64(set, 3, to);
        sqlite3_bind_text(set, 4, words, -1, SQLITE_STATIC);
    }
    return run_alone(database, set, changes);
}

bool store_take_request(void *state, struct queue_request *request)
{
    struct store *store = state;
    struct database *database = &store->reader;
    enum database_result result;
    int changes = 0;
    if (!store->asked || !store->owned)
        return false;
    result = forget_old(database);
    while (result == DATABASE_DONE && find_next(database, request, &result)) {
        result = set_state(database, request->number, ASKED, TAKEN, "", &changes);
        if (result != DATABASE_DONE)
            break;
        if (changes > 0)
            return true; /* else the request was withdrawn meanwhile */
    }
    store->asked = false;
    if (result != DATABASE_DONE)
        store_failed(store, result, &database->why);
    return false;
}

void store_answer_request(void *state, int64_t number, bool done, const char *words)
{
    struct store *store = state;
    int changes;
    enum database_result result = set_state(&store->reader, number, TAKEN, done ? DONE : REFUSED, words, &changes);
    if (result != DATABASE_DONE)
        store_failed(store, result, &store->reader.why);
}
