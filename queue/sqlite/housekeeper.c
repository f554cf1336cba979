/* The owner's housekeeper: a thread for deferred work. Checkpoints, small and often, so that the log stays short and no
 * request thread does one; merging the identity journal into the index; deleting old identities and dead letters;
 * releasing free pages; the reserve; the heartbeat. Sleeps until something was written. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "queue/sqlite/files.h"
#include "queue/sqlite/store.h"

#define CHECKPOINT_MS 40   /* between checkpoints under load */
#define OPEN_AGAIN_MS 1000 /* between tries to open the database */
#define BEAT_MS 10000
#define ROOM_MS 500         /* between tries for the reserve while it is gone */
#define PRUNE_MS 60000      /* between steps of forgetting */
#define MERGE_AT 65536      /* identities in the journal, at least; ... */
#define MERGE_MOST 262144   /* ... at most; ... */
#define KEYS_FOR_EACH 64    /* ... between them one for so many in the index; ... */
#define MERGE_QUIET_AT 8192 /* ... or these, when nothing was written for a while: they take memory */
#define QUIET_MS 2000
#define MERGE_STEP 256       /* in one transaction: appends wait for it */
#define FORGET_STEP 4096     /* rows of journal or index in one transaction */
#define FREE_PAGES_MOST 1024 /* 16 MiB: those beyond are released */
#define VACUUM_STEP "PRAGMA incremental_vacuum(64)"

struct house {
    struct store *store;
    struct database database;
    struct checkpointer checkpointer;
    moment next_beat;
    moment tried_room; /* when the reserve was last checked; 0: never */
    moment next_words; /* earliest time to log "room again" */
    moment next_prune;
    uint32_t pruned_source; /* pruning of the index has reached this source and key */
    unsigned char pruned_key[16];
};

bool housekeeper_is_ending(struct store *store)
{
    pthread_mutex_lock(&store->housekeeper.lock);
    bool ending = store->housekeeper.ending;
    pthread_mutex_unlock(&store->housekeeper.lock);
    return ending;
}

/* Sleeps that long, or until the end. */
static void sleep_unless_ending(struct store *store, int64_t ms)
{
    struct housekeeper *keeper = &store->housekeeper;
    moment until = clock_now() + ms;
    pthread_mutex_lock(&keeper->lock);
    while (!keeper->ending && clock_condition_wait(&keeper->called, &keeper->lock, until))
        ;
    pthread_mutex_unlock(&keeper->lock);
}

/* ---- identities ---- */

static enum database_result merge_step(struct house *house, const struct mirrored *sorted, size_t count)
{
    struct database *database = &house->database;
    enum database_result result = database_begin(database);
    if (result != DATABASE_DONE)
        return result;
    for (size_t i = 0; i < count && result == DATABASE_DONE; i++) {
        sqlite3_stmt *add = database_statement(database, STATEMENT_ADD_KNOWN, 0);
        if (add != NULL) {
            sqlite3_bind_int64(add, 1, sorted[i].source);
            sqlite3_bind_blob(add, 2, sorted[i].key, sizeof sorted[i].key, SQLITE_STATIC);
            sqlite3_bind_int64(add, 3, sorted[i].updated);
            sqlite3_bind_int64(add, 4, sorted[i].at);
        }
        result = database_run(database, add);
    }
    result = database_end(database, result);
    if (result != DATABASE_DONE)
        return result;
    pthread_mutex_lock(&house->store->mirror_lock);
    for (size_t i = 0; i < count; i++)
        bloom_add(&house->store->bloom, sorted[i].key);
    pthread_mutex_unlock(&house->store->mirror_lock);
    return result;
}

/* Deletes the journal's rows up to `last`, in steps. */
static enum database_result delete_journal(struct house *house, int64_t first, int64_t last)
{
    enum database_result result = DATABASE_DONE;
    for (int64_t n = first; n <= last && result == DATABASE_DONE; n += FORGET_STEP) {
        sqlite3_stmt *forget = database_statement(&house->database, STATEMENT_DELETE_JOURNAL, 0);
        if (forget != NULL)
            sqlite3_bind_int64(forget, 1, n + FORGET_STEP - 1 < last ? n + FORGET_STEP - 1 : last);
        result = database_run_alone(&house->database, forget, NULL);
    }
    return result;
}

static enum database_result journal_bounds(struct house *house, int64_t *first, int64_t *last)
{
    enum database_result result;
    *first = database_number(&house->database, STATEMENT_JOURNAL_FIRST, &result);
    if (result == DATABASE_DONE)
        *last = database_number(&house->database, STATEMENT_JOURNAL_LAST, &result);
    return result;
}

/* Removes merged identities from the mirror, except those settled again meanwhile. */
static void shrink_mirror(struct store *store, const struct mirrored *merged, size_t count)
{
    struct mirror rest = {0};
    pthread_mutex_lock(&store->mirror_lock);
    bool good = true;
    for (size_t i = 0; i < store->mirror.used && good; i++) {
        const struct mirrored *one = &store->mirror.entry[i];
        const struct mirrored *same = bsearch(one, merged, count, sizeof *merged, mirror_compare);
        if (same == NULL || same->updated != one->updated || same->at != one->at)
            good = mirror_add(&rest, one);
    }
    if (good) {
        mirror_free(&store->mirror);
        store->mirror = rest;
    } else {
        mirror_free(&rest); /* the mirror stays large but correct */
    }
    pthread_mutex_unlock(&store->mirror_lock);
}

static bool is_quiet(struct store *store)
{
    int64_t since = clock_unix_ms() - atomic_load(&store->committed_ms);
    return since < 0 || since >= QUIET_MS;
}

/* So many that a page of the index takes several of them: a page that is written for each key makes a backlog drain at
 * half the rate (measured with 20M keys). */
static uint64_t merge_at(const struct bloom *index)
{
    uint64_t some = index->added / KEYS_FOR_EACH;
    some = some > MERGE_MOST ? MERGE_MOST : some;
    return some < MERGE_AT ? MERGE_AT : some;
}

/* What is merged: a sorted copy of the mirror, and the rows of the journal that are in it. */
struct merged {
    struct mirrored *sorted; /* to be freed; NULL: nothing is due */
    size_t count;
    int64_t first, last;
};

/* The rows before the mirror: what is committed is in it when its lock is free, and a later row is in the mirror's
 * rest, or is merged twice. */
static enum database_result take_mirror(struct house *house, struct merged *merged)
{
    struct store *store = house->store;
    enum database_result result = journal_bounds(house, &merged->first, &merged->last);
    if (result != DATABASE_DONE)
        return result;
    pthread_mutex_lock(&store->mirror_lock);
    merged->count = store->mirror.used;
    if (merged->count >= merge_at(&store->bloom) || (merged->count >= MERGE_QUIET_AT && is_quiet(store)))
        merged->sorted = mirror_sorted(&store->mirror);
    pthread_mutex_unlock(&store->mirror_lock);
    return result;
}

/* Merges in sorted order, so that many keys share a page. Appends run between the steps. */
static enum database_result merge_mirror(struct house *house)
{
    struct store *store = house->store;
    struct merged merged = {.sorted = NULL};
    enum database_result result = take_mirror(house, &merged);
    if (merged.sorted == NULL)
        return result;
    bloom_load(store, &house->database);
    for (size_t i = 0, left; (left = merged.count - i) > 0 && result == DATABASE_DONE;) {
        if (housekeeper_is_ending(store))
            break;
        size_t step = left < MERGE_STEP ? left : MERGE_STEP;
        result = merge_step(house, merged.sorted + i, step);
        checkpointer_copy(&house->checkpointer);
        i += step;
    }
    if (result == DATABASE_DONE && !housekeeper_is_ending(store))
        result = delete_journal(house, merged.first,
                                bloom_save(store, &house->database, merged.last) ? merged.last - 1 : merged.last);
    if (result == DATABASE_DONE && !housekeeper_is_ending(store))
        shrink_mirror(store, merged.sorted, merged.count);
    free(merged.sorted);
    sqlite3_db_release_memory(house->database.db);
    malloc_trim(0);
    return result;
}

/* Deletes identities older than dedupe_window in the next part of the index. *many: much of that part was. */
static enum database_result prune_step(struct house *house, bool *many)
{
    struct database *database = &house->database;
    enum database_result result;
    sqlite3_stmt *end = database_statement(database, STATEMENT_KNOWN_AFTER, 0);
    unsigned char last[16];
    int64_t source = INT32_MAX;
    memset(last, 0xff, sizeof last);
    if (end != NULL) {
        sqlite3_bind_int64(end, 1, house->pruned_source);
        sqlite3_bind_blob(end, 2, house->pruned_key, sizeof house->pruned_key, SQLITE_STATIC);
        sqlite3_bind_int64(end, 3, FORGET_STEP);
    }
    if (database_step(database, end, &result) == SQLITE_ROW && sqlite3_column_bytes(end, 1) == (int)sizeof last) {
        source = sqlite3_column_int64(end, 0);
        memcpy(last, sqlite3_column_blob(end, 1), sizeof last);
    }
    *many = false;
    if (result != DATABASE_DONE)
        return result;
    sqlite3_reset(end);
    sqlite3_stmt *forget = database_statement(database, STATEMENT_PRUNE_KNOWN, 0);
    if (forget != NULL) {
        sqlite3_bind_int64(forget, 1, house->pruned_source);
        sqlite3_bind_blob(forget, 2, house->pruned_key, sizeof house->pruned_key, SQLITE_STATIC);
        sqlite3_bind_int64(forget, 3, source);
        sqlite3_bind_blob(forget, 4, last, sizeof last, SQLITE_STATIC);
        sqlite3_bind_int64(forget, 5, clock_unix_ms() - house->store->config->dedupe_window_ms);
    }
    int deleted = 0;
    result = database_run_alone(database, forget, &deleted);
    bool around = source == INT32_MAX;
    *many = result == DATABASE_DONE && !around && deleted > FORGET_STEP / 8;
    house->pruned_source = around ? 0 : (uint32_t)source;
    memcpy(house->pruned_key, last, sizeof last);
    return result;
}

/* One part each time, and the next ones at once while much is deleted: else who delivers more than one part in a minute
 * would have an index that grows for ever. Appends run between the steps. */
static enum database_result prune(struct house *house)
{
    enum database_result result;
    bool many;
    do {
        result = prune_step(house, &many);
        if (many)
            checkpointer_copy(&house->checkpointer);
    } while (many && !housekeeper_is_ending(house->store));
    return result;
}

/* Deletes dead letters older than dead_retention. Appends run between the steps. */
static enum database_result expire_letters(struct house *house)
{
    enum database_result result;
    size_t ended;
    do {
        result = letters_expire_step(house->store, &house->database, &ended);
        if (ended > 0)
            checkpointer_copy(&house->checkpointer);
    } while (result == DATABASE_DONE && ended > 0 && !housekeeper_is_ending(house->store));
    return result;
}

/* ---- disk space ---- */

/* Gives some free pages back to the file system, down to `most`. *more: there are others. */
static enum database_result release_free_pages(struct house *house, int64_t most, bool *more)
{
    enum database_result result;
    int64_t unused = database_number(&house->database, STATEMENT_FREE_PAGES, &result);
    *more = result == DATABASE_DONE && unused > most;
    if (!*more)
        return result;
    result = database_begin(&house->database);
    if (result != DATABASE_DONE)
        return result;
    result = database_result_of(&house->database, sqlite3_exec(house->database.db, VACUUM_STEP, NULL, NULL, NULL));
    return database_end(&house->database, result);
}

/* Checks the reserve, and creates it again as soon as there is room: without it nothing is accepted. */
static void keep_reserve(struct house *house, moment now)
{
    struct store *store = house->store;
    bool gone = atomic_load(&store->reserve_gone) || !reserve_is_there(store->directory);
    struct error why;
    house->tried_room = now;
    if (gone && !atomic_load(&store->reserve_gone) && no_room_of(store->directory) == 0 &&
        store_replace_reserve(store, &house->database, &why))
        return;
    if (gone)
        checkpointer_empty(&house->checkpointer); /* the log may be what fills the disk */
    bool there = store_make_reserve(store, &house->database);
    if (there && atomic_exchange(&store->reserve_gone, false) && now >= house->next_words) {
        house->next_words = now + BEAT_MS; /* near the limit it comes and goes */
        log_write(LEVEL_INFO, "msg=room_again state_dir=\"%s\"", store->directory);
    }
    if (!there)
        atomic_store(&store->reserve_gone, true);
}

/* When the reserve is checked next: often while it is gone, as Close's requests are refused. */
static moment room_due(const struct house *house)
{
    if (house->tried_room == 0)
        return 0;
    bool gone = atomic_load(&house->store->reserve_gone) || !reserve_is_there(house->store->directory);
    return house->tried_room + (gone ? ROOM_MS : BEAT_MS);
}

/* ---- the thread ---- */

static void do_housekeeping(struct house *house)
{
    struct store *store = house->store;
    moment now = clock_now();
    bool more;
    if (atomic_load(&store->files_state) != FILES_IN_PLACE)
        return; /* must not write over the files that another process uses now */
    enum database_result result = merge_mirror(house);
    if (result == DATABASE_DONE)
        result = bloom_make(store, &house->database, &house->checkpointer);
    checkpointer_copy(&house->checkpointer);
    if (now >= house->next_beat) {
        beat_write(store->directory);
        store_keep_claim(store);
        marks_note(store, &house->database);
        store_check_clock(store);
        house->next_beat = now + BEAT_MS;
        if (result == DATABASE_DONE)
            result = release_free_pages(house, FREE_PAGES_MOST, &more);
    }
    if (now >= room_due(house))
        keep_reserve(house, now);
    if (now >= house->next_prune && result == DATABASE_DONE && atomic_load(&store->clock_steady)) {
        result = prune(house);
        if (result == DATABASE_DONE)
            result = expire_letters(house);
        house->next_prune = now + PRUNE_MS;
    }
    if (result != DATABASE_DONE)
        store_failed(store, result, &house->database.why);
}

/* Waits until there is work or `until` is reached. Returns false at the end. */
static bool wait_for_work(struct store *store, moment until)
{
    struct housekeeper *keeper = &store->housekeeper;
    pthread_mutex_lock(&keeper->lock);
    while (!keeper->work && !keeper->ending && clock_now() < until)
        clock_condition_wait(&keeper->called, &keeper->lock, until);
    keeper->work = false;
    bool on = !keeper->ending;
    pthread_mutex_unlock(&keeper->lock);
    return on;
}

static moment next_due(const struct house *house)
{
    moment room = room_due(house);
    if (checkpointer_has_more(&house->checkpointer))
        return clock_now();
    pthread_mutex_lock(&house->store->mirror_lock);
    bool merges = house->store->mirror.used >= MERGE_QUIET_AT; /* soon */
    pthread_mutex_unlock(&house->store->mirror_lock);
    if (merges && clock_now() + QUIET_MS / 2 < room)
        room = clock_now() + QUIET_MS / 2;
    return room < house->next_beat ? room : house->next_beat;
}

/* Opens both connections. Connections to other files than the writer's would mix two queues. */
static bool open_once(struct house *house)
{
    struct store *store = house->store;
    struct error displaced;
    enum database_result result = schema_open(&house->database, store->directory, false);
    if (result != DATABASE_DONE) {
        store_failed(store, result, &house->database.why); /* logs it, rarely */
        return false;
    }
    result = checkpointer_open(&house->checkpointer, store->directory);
    if (result != DATABASE_DONE)
        store_failed(store, result, &house->checkpointer.database.why);
    return result == DATABASE_DONE && store_is_in_place(store, &displaced);
}

static void close_house(struct house *house)
{
    checkpointer_close(&house->checkpointer);
    database_close(&house->database);
}

/* Opens both connections, retrying until it works. Returns false at the end. */
static bool open_house(struct house *house)
{
    while (!open_once(house)) {
        close_house(house);
        if (housekeeper_is_ending(house->store))
            return false;
        sleep_unless_ending(house->store, OPEN_AGAIN_MS);
    }
    return true;
}

static void *run_housekeeper(void *context)
{
    struct house house = {.store = context};
    if (!open_house(&house))
        return NULL;
    while (wait_for_work(house.store, next_due(&house))) {
        do_housekeeping(&house);
        sleep_unless_ending(house.store, CHECKPOINT_MS);
    }
    struct error displaced;
    if (store_is_in_place(house.store, &displaced)) {
        marks_note(house.store, &house.database);
        checkpointer_finish(&house.checkpointer);
    }
    close_house(&house);
    return NULL;
}

/* Where no thread can be started, forwarding goes on without: the log grows and nothing is deleted until starting it
 * works. */
static void start_thread(struct store *store)
{
    struct housekeeper *keeper = &store->housekeeper;
    bool first = keeper->tried == 0;
    keeper->tried = clock_now();
    int error = pthread_create(&keeper->thread, NULL, run_housekeeper, store);
    keeper->started = error == 0;
    if (error != 0 && first)
        log_write(LEVEL_ERROR, "msg=no_housekeeper reason=\"cannot start a thread: %s\" next_seconds=%d",
                  strerror(error), OPEN_AGAIN_MS / 1000);
}

void housekeeper_start(struct store *store)
{
    struct housekeeper *keeper = &store->housekeeper;
    pthread_mutex_init(&keeper->lock, NULL);
    clock_condition_init(&keeper->called);
    keeper->ending = false;
    keeper->work = true;
    keeper->owned = true;
    keeper->tried = 0;
    start_thread(store);
}

void housekeeper_call(struct store *store)
{
    struct housekeeper *keeper = &store->housekeeper;
    if (!keeper->owned)
        return;
    if (!keeper->started && clock_now() - keeper->tried >= OPEN_AGAIN_MS)
        start_thread(store);
    pthread_mutex_lock(&keeper->lock);
    if (!keeper->work) {
        keeper->work = true;
        pthread_cond_signal(&keeper->called);
    }
    pthread_mutex_unlock(&keeper->lock);
}

void housekeeper_stop(struct store *store)
{
    struct housekeeper *keeper = &store->housekeeper;
    if (!keeper->owned)
        return;
    pthread_mutex_lock(&keeper->lock);
    keeper->ending = true;
    pthread_cond_broadcast(&keeper->called);
    pthread_mutex_unlock(&keeper->lock);
    if (keeper->started)
        pthread_join(keeper->thread, NULL);
    pthread_cond_destroy(&keeper->called);
    pthread_mutex_destroy(&keeper->lock);
    keeper->started = keeper->owned = false;
}
