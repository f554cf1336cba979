/* What all parts of the engine `sqlite` share: a source's number, the reader's connection, what failures mean. */
#include "queue/sqlite/store.h"

#include "base/log.h"
#include "base/no_room.h"
#include "queue/sqlite/reserve.h"

#include <string.h>

#define LOG_AGAIN_MS 10000

uint32_t store_number(struct store *store, const char *name)
{
    const struct source *source = config_source(store->config, name);
    if (source != NULL)
        return store->number[source - store->config->source];
    enum database_result result;
    uint32_t number = 0;
    sqlite3_stmt *find = database_statement(&store->reader, STATEMENT_SOURCE_NUMBER, 0);
    if (find != NULL)
        sqlite3_bind_text(find, 1, name, -1, SQLITE_STATIC);
    if (database_step(&store->reader, find, &result) == SQLITE_ROW)
        number = (uint32_t)sqlite3_column_int64(find, 0);
    if (result == DATABASE_DONE)
        sqlite3_reset(find);
    return number;
}

/* Under load a full disk would fill the log too. */
static bool was_logged(struct store *store, enum database_result result)
{
    moment now = clock_now();
    moment before = atomic_load(&store->logged[result]);
    return (before > 0 && now - before < LOG_AGAIN_MS) ||
           !atomic_compare_exchange_strong(&store->logged[result], &before, now);
}

void store_failed(struct store *store, enum database_result result, const struct error *why)
{
    char words[LOG_QUOTED];
    if (result == DATABASE_DAMAGED)
        damage_mark(store->directory);
    if (result == DATABASE_DAMAGED || result == DATABASE_NEWER)
        atomic_store(&store->must_reopen, true);
    if (result == DATABASE_DONE || was_logged(store, result))
        return;
    log_quote(words, why->text, strlen(why->text));
    switch (result) {
    case DATABASE_DONE:
        break;
    case DATABASE_FULL:
        log_write(LEVEL_ERROR,
                  "msg=disk_full state_dir=\"%s\" reason=%s advice=\"Close keeps new events meanwhile, and "
                  "what waits is delivered\"",
                  store->directory, words);
        break;
    case DATABASE_DAMAGED:
        log_write(LEVEL_ERROR,
                  "msg=queue_damaged state_dir=\"%s\" reason=%s advice=\"it is repaired as soon as every "
                  "process has let go of it; check the disk\"",
                  store->directory, words);
        break;
    case DATABASE_NEWER:
        log_write(LEVEL_ERROR, "msg=queue_of_another_release state_dir=\"%s\" reason=%s", store->directory, words);
        break;
    case DATABASE_FAILED:
        log_write(LEVEL_ERROR, "msg=queue_failed state_dir=\"%s\" reason=%s", store->directory, words);
        break;
    }
}

bool store_has_room(void *state, struct error *words)
{
    const struct store *store = state;
    int error = no_room_of(store->directory);
    if (error != 0)
        error_set(words, "%s: %s", no_room_words(error), no_room_advice(error));
    return error == 0;
}

bool store_can_be_settled(void *state, struct error *words)
{
    const struct store *store = state;
    int error = unsettled_of(store->directory);
    if (error != 0)
        error_set(words, "%s: %s", no_room_words(error), no_room_advice(error));
    return error == 0;
}

bool store_give_up_reserve(struct store *store, const struct database *database)
{
    if (!no_room_helped_by_space(database->error) || !reserve_is_there(store->directory))
        return false;
    store_failed(store, DATABASE_FULL, &database->why);
    reserve_give_up(store->directory, database->error);
    atomic_store(&store->reserve_gone, true);
    return true;
}

bool store_reader(struct store *store, struct error *why)
{
    if (store->reading)
        return true;
    enum database_result result = schema_open(&store->reader, store->directory, false);
    store->reading = result == DATABASE_DONE;
    if (!store->reading) {
        *why = store->reader.why;
        store_failed(store, result, why);
        database_close(&store->reader);
    }
    /* A connection to other files than the writer's would mix two queues. */
    if (store->reading && !store_is_in_place(store, why)) {
        database_close(&store->reader);
        store->reading = false;
    }
    return store->reading;
}
