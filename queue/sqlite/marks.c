/* The delivered mark (queue/inspect.h), written by the owner periodically and at its end: just after the date of the
 * newest settled event, but never after the oldest date of a waiting one. Also the record of signature keys. */
#include "base/log.h"
#include "base/times.h"
#include "config/keyring.h"
#include "queue/inspect.h"
#include "queue/sqlite/store.h"

#include <stdlib.h>
#include <string.h>

#define LOOKED_AT 32          /* oldest waiting events that are examined */
#define LARGEST (1024 * 1024) /* bytes of a body that is examined; of a larger one the arrival time is used */
#define DELIVERY_MS 600000    /* how much older than its arrival an event's date may be */
#define AHEAD_US (INT64_C(86400) * 1000000) /* a date further ahead of the clock is ignored */

bool marks_begin(struct store *store)
{
    size_t count = store->config->sources;
    if (store->settled == NULL)
        store->settled = calloc(count > 0 ? count : 1, sizeof *store->settled);
    for (size_t i = 0; store->settled != NULL && i < count; i++)
        store->settled[i].source = store->number[i];
    return store->settled != NULL;
}

void marks_settled(struct store *store, uint32_t source, int64_t updated_us)
{
    if (store->settled == NULL || updated_us > clock_unix_ms() * 1000 + AHEAD_US)
        return;
    for (size_t i = 0; i < store->config->sources; i++) {
        if (store->settled[i].source == source && updated_us > store->settled[i].newest_us)
            store->settled[i].newest_us = updated_us;
    }
}

/* Finds the oldest date of the first waiting events, ignoring those older than the current mark (a replay, a backfill),
 * which do not hold it back. INT64_MAX: none waits. Returns false when the events cannot be read. */
static bool oldest_waiting(struct database *database, uint32_t number, int64_t before_ms, int64_t *ms)
{
    enum database_result result;
    sqlite3_stmt *first = database_statement(database, STATEMENT_FIRST_BODIES, number);
    *ms = INT64_MAX;
    if (first != NULL) {
        sqlite3_bind_int64(first, 1, LARGEST);
        sqlite3_bind_int64(first, 2, LOOKED_AT);
    }
    while (database_step(database, first, &result) == SQLITE_ROW) {
        const char *body = sqlite3_column_blob(first, 1);
        int64_t us = body == NULL ? DATE_UNREADABLE : delivered_date_of(body, (size_t)sqlite3_column_bytes(first, 1));
        int64_t date_ms = us == DATE_UNREADABLE ? sqlite3_column_int64(first, 0) - DELIVERY_MS : us / 1000;
        *ms = date_ms < *ms && date_ms >= before_ms ? date_ms : *ms;
    }
    if (result == DATABASE_DONE)
        sqlite3_reset(first);
    return result == DATABASE_DONE;
}

/* The mark never decreases: older events were settled, and would be fetched and counted twice. */
static int64_t mark_of(struct store *store, struct database *database, size_t i, int64_t before_ms)
{
    int64_t waiting_ms;
    if (!oldest_waiting(database, store->number[i], before_ms, &waiting_ms))
        return before_ms;
    pthread_mutex_lock(&store->mirror_lock); /* after that: what does not wait any more is noted by now */
    int64_t newest_us = store->settled[i].newest_us;
    pthread_mutex_unlock(&store->mirror_lock);
    int64_t mark_ms = newest_us > 0 ? newest_us / 1000 + 1 : waiting_ms;
    if (waiting_ms < mark_ms)
        mark_ms = waiting_ms;
    return mark_ms == INT64_MAX || mark_ms < before_ms ? before_ms : mark_ms;
}

void marks_note(struct store *store, struct database *database)
{
    struct error why;
    char words[LOG_QUOTED];
    size_t count = store->config->sources;
    bool changed = false;
    struct delivered *marks = store->settled == NULL ? NULL : calloc(count > 0 ? count : 1, sizeof *marks);
    for (size_t i = 0; marks != NULL && i < count; i++) {
        const char *name = store->config->source[i].name;
        int64_t before_ms = delivered_mark(store->directory, name);
        strncpy(marks[i].source, name, sizeof marks[i].source - 1);
        marks[i].mark_ms = mark_of(store, database, i, before_ms);
        changed = changed || marks[i].mark_ms != before_ms;
    }
    /* without the mark a lost database means duplicates or an operator's decision: no reason to stop */
    if (changed && !delivered_write(store->directory, marks, count, &why))
        log_write(LEVEL_WARN, "msg=mark_not_noted state_dir=\"%s\" reason=%s", store->directory,
                  log_quote(words, why.text, strlen(why.text)));
    free(marks);
}

/* ---- The record that a source had a signature key, in the database (store_note_signed). Read and written when a queue
 * is opened, before requests are accepted. ---- */

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

static enum database_result note_signed(struct database *database, uint32_t number)
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

/* What cannot be written on a full disk is written at a later opening; the other record exists. */
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
    if (!in_database && beside && note_signed(database, number) != DATABASE_DONE)
        log_write(LEVEL_WARN, "msg=not_noted source=%s reason=\"%s\"", source->name, database->why.text);
    return DATABASE_DONE;
}
