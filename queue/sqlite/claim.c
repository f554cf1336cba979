/* The consumer: holding the consumer lock, and reading events in order or by their ids. One process at a time, on one
 * machine, is the owner; the kernel releases the lock when that process dies. A heartbeat names its machine, since two
 * machines on a network file system may not see each other's locks. */
#include "base/files.h"
#include "base/log.h"
#include "queue/sqlite/recovery.h"
#include "queue/sqlite/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define FRESH_MS 60000 /* a heartbeat is written every 10 s */

/* Whether there is a fresh heartbeat of another machine. */
static bool another_machine_forwards(const struct store *store, struct error *why)
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
    error_set_kind(
        why, ERROR_BUSY,
        "another machine forwards from this state directory (%.100s, %lld s ago): one state directory is for "
        "one machine",
        beat, (long long)(age_ms / 1000));
    return true;
}

/* Loads the journal: identities that were settled and are not in the index yet. */
static enum database_result load_mirror(struct store *store)
{
    sqlite3_stmt *journal = database_statement(&store->reader, STATEMENT_JOURNAL, 0);
    pthread_mutex_lock(&store->mirror_lock);
    mirror_free(&store->mirror);
    enum database_result result = store_mirror_journal(store, journal, true);
    pthread_mutex_unlock(&store->mirror_lock);
    return result;
}

/* Whoever forwarded last saved what it delivered from files that were replaced, and then let go of the locks: what it
 * delivered is not known here until that is brought over. */
static bool knows_all_deliveries(struct store *store, struct error *why)
{
    if (!rescue_is_due(store->directory))
        return true;
    atomic_store(&store->must_reopen, true);
    error_set_kind(why, ERROR_BUSY,
                   "files of the queue in %.300s were replaced while it was in use: what they held is brought over "
                   "first, when the queue is opened anew",
                   store->directory);
    return false;
}

static bool begin_owning(struct store *store, struct error *why)
{
    struct error unnoted = {0};
    if (!repair_end_missing(store->directory, store->config, &unnoted)) /* nobody else can save it any more */
        log_write(LEVEL_ERROR, "msg=not_noted reason=\"%s\"", unnoted.text);
    store->wake_fd = wake_open(store->directory, why);
    if (store->wake_fd < 0 || !store_reader(store, why))
        return false;
    if (!marks_begin(store)) {
        error_set(why, "out of memory");
        return false;
    }
    enum database_result result = load_mirror(store);
    /* A power cut may undo what was settled last: it is sent again. What a command was told may not be undone. */
    if (result == DATABASE_DONE)
        result = database_sync_commits(&store->reader, false);
    if (result != DATABASE_DONE) {
        *why = store->reader.why;
        store_failed(store, result, why);
        return false;
    }
    store->asked = true; /* requests of the previous owner may be left */
    beat_write(store->directory);
    state_forwarder_note(store->config);
    directory_warn(store->directory);
    store_check_clock(store);
    housekeeper_start(store);
    return true;
}

/* Locks the directory itself too, so that removing forward.lock lets no second owner in. Not all file systems support
 * that. Returns false when another process has the lock. */
static bool lock_directory(int *fd, const char *directory)
{
    if (*fd < 0)
        *fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0 || flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    bool held = errno == EWOULDBLOCK;
    close(*fd);
    *fd = -1;
    return !held;
}

static void close_lock(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Takes both locks; an older release takes only the file's. */
static bool lock_reading(struct store *store, struct error *why)
{
    char path[STATE_PATH];
    directory_path(path, store->directory, "forward.lock");
    if (!lock_directory(&store->directory_lock, store->directory)) {
        error_set_kind(why, ERROR_BUSY, "another process forwards");
        return false;
    }
    int error = lock_take(&store->forward_lock, path, LOCK_EX | LOCK_NB);
    if (error == 0)
        return true;
    close_lock(&store->directory_lock);
    if (error == EWOULDBLOCK)
        error_set_kind(why, ERROR_BUSY, "another process forwards");
    else
        error_set(why, "cannot lock %.300s: %s", path, strerror(error));
    return false;
}

bool store_claim(void *state, struct error *why)
{
    struct store *store = state;
    if (store->owned)
        return true;
    if (!lock_reading(store, why))
        return false;
    store->owned =
        !another_machine_forwards(store, why) && knows_all_deliveries(store, why) && begin_owning(store, why);
    if (!store->owned) {
        close_lock(&store->wake_fd);
        close_lock(&store->forward_lock);
        close_lock(&store->directory_lock);
    }
    return store->owned;
}

void store_keep_claim(struct store *store)
{
    char path[STATE_PATH];
    struct error why;
    directory_path(path, store->directory, "wake");
    bool wakes = lock_is_current(store->wake_fd, path);
    directory_path(path, store->directory, "forward.lock");
    if (lock_is_current(store->forward_lock, path) && wakes)
        return;
    if (!store_is_in_place(store, &why))
        return; /* they are where the state directory was moved to, just now */
    log_write(
        LEVEL_ERROR,
        "msg=lock_file_replaced state_dir=\"%s\" reason=\"%s was removed or replaced\" advice=\"leave the files of "
        "the state directory alone while the program runs\"",
        store->directory, wakes ? "forward.lock" : "wake");
    /* Without the FIFO nobody wakes this process; without the lock another may have begun to forward. */
    if (!wakes || lock_take(&store->forward_lock, path, LOCK_EX | LOCK_NB) != 0)
        atomic_store(&store->must_reopen, true);
}

void store_release(struct store *store)
{
    if (store->owned) {
        char path[STATE_PATH];
        housekeeper_stop(store);
        bloom_free(&store->bloom); /* from now on other processes write the index */
        directory_path(path, store->directory, "forward.beat");
        unlink(path); /* an orderly release: another machine may take over at once */
        store->owned = false;
    }
    close_lock(&store->wake_fd);
    close_lock(&store->forward_lock);
    close_lock(&store->directory_lock);
}

/* Returns 0 or errno: EWOULDBLOCK when a process has one of the locks. */
static int look_for_owner(const char *directory)
{
    char path[STATE_PATH];
    int file = -1, locked = -1;
    directory_path(path, directory, "forward.lock");
    int error = lock_take(&file, path, LOCK_EX | LOCK_NB);
    if (!lock_directory(&locked, directory))
        error = EWOULDBLOCK;
    close_lock(&file);
    close_lock(&locked);
    return error;
}

bool store_is_claimed(const char *directory)
{
    return look_for_owner(directory) == EWOULDBLOCK;
}

bool store_is_owned(void *state, bool *owned, struct error *words, struct error *why)
{
    struct store *store = state;
    char beat[BEAT_TEXT];
    int64_t age_ms;
    int error = store->owned ? EWOULDBLOCK : look_for_owner(store->directory);
    *owned = error == EWOULDBLOCK;
    if (error != 0 && error != EWOULDBLOCK) {
        error_set(why, "cannot lock %.300s/forward.lock: %s", store->directory, strerror(error));
        return false;
    }
    if (*owned && beat_read(store->directory, beat, &age_ms))
        beat_words(beat, age_ms > FRESH_MS ? age_ms : 0, words);
    else
        error_set(words, *owned ? "a process forwards" : "no process forwards now");
    return true;
}

/* ---- reading events; no read transaction outlives a call ---- */

/* Copies the event of a statement's current row. Returns 1; 0 when it would exceed max_bytes; -1 when memory is out. */
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

static int finish_take(struct store *store, struct events *found, enum database_result result, int took,
                       struct error *why)
{
    if (result != DATABASE_DONE) {
        store_reader_failed(store, result, why);
        return -1;
    }
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
        housekeeper_call(store); /* something was written */
    return finish_take(store, found, result, took, why);
}

int store_again(void *state, const char *source, const uint64_t *ids, size_t count, size_t max_bytes,
                struct events *found, size_t *asked, struct error *why)
{
    struct store *store = state;
    int took = 1;
    *asked = 0;
    events_clear(found);
    if (!store_reader(store, why))
        return -1;
    sqlite3_stmt *one = database_statement(&store->reader, STATEMENT_ONE, store_number(store, source));
    /* One transaction for all: separate ones would each lock and look up the log's end. */
    enum database_result result = database_begin_reading(&store->reader);
    for (; result == DATABASE_DONE && *asked < count; ++*asked) {
        if (one != NULL)
            sqlite3_bind_int64(one, 1, (int64_t)ids[*asked]);
        int step = database_step(&store->reader, one, &result);
        took = step == SQLITE_ROW ? take_row(one, max_bytes, found) : 1;
        sqlite3_reset(one);
        if (result != DATABASE_DONE || took <= 0)
            break;
    }
    database_end_reading(&store->reader);
    return finish_take(store, found, result, took, why);
}
