/* The store's files are removed or replaced while it is open: noticed after each commit and once a second, said loudly,
 * and saved at once by the writer's thread, whose connection still has the old ones open (rescue.h). */
#include <string.h>

#include "queue/sqlite/rescue.h"
#include "queue/sqlite/store.h"
#include "watch/log.h"

#define SAY_AGAIN_MS 10000
#define LAST_TRIES 3

static void say(struct store *store, enum placed placed)
{
    moment now = clock_now(), before = atomic_load(&store->said_displaced);
    if ((before > 0 && now - before < SAY_AGAIN_MS) ||
        !atomic_compare_exchange_strong(&store->said_displaced, &before, now))
        return;
    log_write(LEVEL_ERROR,
              placed == PLACED_NOWHERE
                  ? "msg=state_dir_gone state_dir=\"%s\" reason=\"%s\" advice=\"put it back where it was: requests are "
                    "answered 503 until then; what the queue held is not lost as long as this process runs\""
                  : "msg=queue_replaced state_dir=\"%s\" reason=\"%s\" advice=\"stop the program before you remove, "
                    "restore or move files of its state directory; what the old ones held is being brought over\"",
              store->directory, placed_words(placed));
}

bool store_is_in_place(struct store *store, struct why *why)
{
    int64_t bytes;
    enum placed placed = places_look(&store->places, store->directory, &bytes);
    int before = atomic_exchange(&store->placed, placed);
    if (placed == PLACED_WELL) {
        atomic_store(&store->database_bytes, bytes);
        if (before == PLACED_NOWHERE)
            log_write(LEVEL_WARN, "msg=state_dir_is_back state_dir=\"%s\"", store->directory);
        return true;
    }
    say(store, placed);
    why_set(why, "%s while this program uses it", placed_words(placed));
    if (placed != PLACED_NOWHERE && !atomic_load(&store->must_reopen))
        store_ask_writer_to_save(store);
    return false;
}

/* What another process saved after the last commit of this one has all of it. Whoever delivers goes on committing. */
static bool was_saved_since(const struct store *store)
{
    int64_t saved_ms = rescue_saved_at(&store->places, store->directory);
    return saved_ms > 0 && !store->owned && saved_ms > atomic_load(&store->committed_ms);
}

/* A new log's index is made from the log itself, and so there is nothing to be saved. */
static enum database_result save(struct store *store, enum placed placed, struct why *why)
{
    if (placed != PLACED_INDEX && !was_saved_since(store))
        return rescue_save(&store->group.database, &store->places, store->directory, why);
    rescue_mark(store->directory);
    return DATABASE_DONE;
}

void store_save(struct store *store, bool last)
{
    struct why why = {""};
    int64_t bytes;
    enum placed placed = places_look(&store->places, store->directory, &bytes);
    if (placed == PLACED_WELL)
        return;
    enum database_result result = save(store, placed, &why);
    for (int tries = 1; last && result != DATABASE_DONE && tries < LAST_TRIES; tries++)
        result = save(store, placed, &why);
    if (result == DATABASE_DONE || last)
        atomic_store(&store->must_reopen, true);
    if (result == DATABASE_DONE)
        return;
    if (last)
        rescue_note_loss(store->directory, store->config, why.text);
    else
        store_failed(store, result, &why); /* within a second it is tried again */
}
