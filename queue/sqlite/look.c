/* What is remembered of identities, for a process that does not forward: the index, and the journal as far as it is not
 * merged into it. */
#include <string.h>

#include "queue/sqlite/store.h"

/* Reads on in the journal. What was merged meanwhile stays known: it is in the index now. When all that was seen is
 * merged it is forgotten, so that memory does not grow. */
static enum database_result read_on(struct store *store)
{
    enum database_result result;
    int64_t first = database_number(&store->reader, STATEMENT_JOURNAL_FIRST, &result);
    if (result != DATABASE_DONE)
        return result;
    if (first == 0 || first > store->seen)
        mirror_free(&store->mirror);
    sqlite3_stmt *journal = database_statement(&store->reader, STATEMENT_JOURNAL_AFTER, 0);
    if (journal != NULL)
        sqlite3_bind_int64(journal, 1, store->mirror.used == 0 ? 0 : store->seen);
    while (database_step(&store->reader, journal, &result) == SQLITE_ROW) {
        struct mirrored one = {.source = (uint32_t)sqlite3_column_int64(journal, 1),
                               .updated = sqlite3_column_int64(journal, 3),
                               .at = sqlite3_column_int64(journal, 4)};
        const void *key = sqlite3_column_blob(journal, 2);
        if (key == NULL || sqlite3_column_bytes(journal, 2) != (int)sizeof one.key)
            continue;
        memcpy(one.key, key, sizeof one.key);
        if (!mirror_add(&store->mirror, &one)) {
            error_set(&store->reader.why, "out of memory");
            result = DATABASE_FAILED;
            break;
        }
        store->seen = sqlite3_column_int64(journal, 0);
    }
    sqlite3_reset(journal);
    return result;
}

bool store_look_known(void *state, const char *source, const struct identity *identities, size_t count,
                      struct known *known, struct error *why)
{
    struct store *store = state;
    if (!store_reader(store, why))
        return false;
    if (!store->owned) {
        pthread_mutex_lock(&store->mirror_lock);
        enum database_result result = read_on(store);
        pthread_mutex_unlock(&store->mirror_lock);
        if (result != DATABASE_DONE) {
            if (why != NULL)
                *why = store->reader.why;
            store_failed(store, result, &store->reader.why);
            return false;
        }
    }
    return store_known(state, source, identities, count, known, why);
}
