/* Who reads: one process at a time, on one machine. The kernel frees the lock when its owner dies; a beat says which
 * host it is on, for two machines on one network file system may not see each other's locks. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/sqlite/beat.h"
#include "queue/sqlite/store.h"

#define FRESH_MS 60000 /* a beat is written every 10 s */

/* Fresh, and of another machine: that one forwards. */
static bool another_machine_forwards(const struct store *store, struct why *why)
{
    char machine[BEAT_MACHINE], beat[BEAT_TEXT];
    int64_t age_ms;
    if (!beat_read(store->directory, beat, &age_ms))
        return false;
    beat_machine(machine);
    if (beat_is_of(beat, machine))
        return false;
    if (age_ms < -FRESH_MS || age_ms > FRESH_MS)
        return false;
    why_set(why,
            "another machine forwards from this state directory (%.100s, %lld s ago): one state directory is for "
            "one machine",
            beat, (long long)(age_ms / 1000));
    return true;
}

/* What was settled and is not in the index yet. */
static enum database_result load_mirror(struct store *store)
{
    enum database_result result;
    sqlite3_stmt *journal = database_statement(&store->reader, STATEMENT_JOURNAL, 0);
    pthread_mutex_lock(&store->mirror_lock);
    mirror_free(&store->mirror);
    while (database_step(&store->reader, journal, &result) == SQLITE_ROW) {
        struct mirrored one = {.source = (uint32_t)sqlite3_column_int64(journal, 1),
                               .updated = sqlite3_column_int64(journal, 3),
                               .at = sqlite3_column_int64(journal, 4)};
        const void *key = sqlite3_column_blob(journal, 2);
        if (key != NULL && sqlite3_column_bytes(journal, 2) == (int)sizeof one.key) {
            memcpy(one.key, key, sizeof one.key);
            if (!mirror_add(&store->mirror, &one)) {
                why_set(&store->reader.why, "out of memory");
                result = DATABASE_FAILED;
                break;
            }
        }
    }
    pthread_mutex_unlock(&store->mirror_lock);
    sqlite3_reset(journal);
    return result;
}

static bool take_over(struct store *store, struct why *why)
{
    store->wake_fd = wake_open(store->directory, why);
    if (store->wake_fd < 0 || !store_reader(store, why))
        return false;
    enum database_result result = load_mirror(store);
    if (result != DATABASE_DONE) {
        *why = store->reader.why;
        store_failed(store, result, why);
        return false;
    }
    store->asked = true; /* of the owner before, maybe */
    beat_write(store->directory);
    steady_look(store);
    housekeeper_start(store);
    return true;
}

bool store_own(void *state, struct why *why)
{
    struct store *store = state;
    if (store->owned)
        return true;
    if (store->forward_lock < 0)
        store->forward_lock = directory_open(store->directory, "forward.lock", why);
    if (store->forward_lock < 0)
        return false;
    if (flock(store->forward_lock, LOCK_EX | LOCK_NB) != 0) {
        why_set(why, "another process forwards");
        return false;
    }
    store->owned = !another_machine_forwards(store, why) && take_over(store, why);
    if (!store->owned) {
        if (store->wake_fd >= 0)
            close(store->wake_fd);
        store->wake_fd = -1;
        flock(store->forward_lock, LOCK_UN);
    }
    return store->owned;
}

void store_disown(struct store *store)
{
    if (store->owned) {
        char path[STATE_PATH];
        housekeeper_stop(store);
        sketch_free(&store->sketch); /* from now on others write the index */
        directory_path(path, store->directory, "forward.beat");
        unlink(path); /* an orderly end: another machine may go on at once */
        store->owned = false;
    }
    if (store->wake_fd >= 0)
        close(store->wake_fd);
    if (store->forward_lock >= 0)
        close(store->forward_lock);
    store->wake_fd = store->forward_lock = -1;
}

bool store_is_owned(void *state, bool *owned, struct why *words, struct why *why)
{
    struct store *store = state;
    char beat[BEAT_TEXT];
    int64_t age_ms;
    int fd = directory_open(store->directory, "forward.lock", why);
    if (fd < 0)
        return false;
    *owned = store->owned || (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK);
    close(fd);
    if (*owned && beat_read(store->directory, beat, &age_ms))
        why_set(words, "%s", beat);
    else
        why_set(words, *owned ? "a process forwards" : "no process forwards now");
    return true;
}
