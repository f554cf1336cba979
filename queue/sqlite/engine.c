/* The engine `sqlite`: opening and closing a state directory, and the table that queue.c calls. */
#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "queue/sqlite/files.h"
#include "queue/sqlite/recovery.h"
#include "queue/sqlite/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define OPEN_WAIT_MS 10000 /* while another process repairs the database */
#define ALONE_TRIES 5      /* to be the only process that has the queue open */

static int take_open_lock(struct store *store, int how)
{
    char path[STATE_PATH];
    directory_path(path, store->directory, "open.lock");
    return lock_take(&store->open_lock, path, how | LOCK_NB);
}

/* Takes the open lock shared, waiting while another process holds it exclusively. */
static bool lock_open(struct store *store, struct error *why)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    int error;
    for (moment deadline = clock_now() + OPEN_WAIT_MS; (error = take_open_lock(store, LOCK_SH)) != 0;) {
        if (error != EWOULDBLOCK || clock_now() > deadline) {
            error_set(why, "cannot lock the state directory %.300s: %s", store->directory,
                      error == EWOULDBLOCK ? "another process repairs it" : strerror(error));
            return false;
        }
        nanosleep(&pause, NULL);
    }
    return true;
}

/* Tries several times, since other processes that open the queue hold the lock for a moment. */
static bool lock_alone(const struct store *store)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    for (int tries = 0; flock(store->open_lock, LOCK_EX | LOCK_NB) != 0; tries++) {
        if (tries == ALONE_TRIES)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/* Repairs a damaged database if no other process has it open. */
static bool repair(struct store *store, struct error *why)
{
    if (!lock_alone(store)) {
        error_set(why,
                  "the queue in %.300s is damaged, and is repaired as soon as no process has it open any more: stop "
                  "those that do",
                  store->directory);
        return false;
    }
    bool good = repair_run(store->directory, store->config, why);
    flock(store->open_lock, LOCK_SH);
    return good;
}

/* Handles replaced files: the processes that have the old ones open save them and close the queue; the first that then
 * gets the open lock exclusively merges the saved files; the others wait for that. */
static bool merge_replaced_files(struct store *store, struct error *why)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    moment deadline = clock_now() + OPEN_WAIT_MS;
    bool good = true;
    while (good && rescue_is_due(store->directory)) {
        if (repair_is_due(store->directory) && !repair(store, why))
            return false;
        if (take_open_lock(store, LOCK_EX) == 0) {
            enum database_result result = rescue_merge_saved(store->directory, store->config, why);
            good = result == DATABASE_DONE;
            if (!good)
                store_failed(store, result, why);
            break;
        }
        lock_release(&store->open_lock); /* two processes that both hold it shared would deadlock */
        nanosleep(&pause, NULL);
        if (clock_now() > deadline) {
            error_set(why,
                      "files of the queue in %.300s were replaced while it was in use; it is opened as soon as no "
                      "process has the old ones open any more",
                      store->directory);
            good = false;
        }
    }
    return good && lock_open(store, why);
}

static bool prepare_sources(struct store *store, struct error *why)
{
    size_t count = store->config->sources;
    store->number = calloc(count > 0 ? count : 1, sizeof *store->number);
    if (store->number == NULL) {
        error_set(why, "out of memory");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct database *database = &store->group.database;
        const struct source *source = &store->config->source[i];
        enum database_result result = schema_add_source(database, source->name, &store->number[i]);
        if (result == DATABASE_DONE)
            result = store_note_signed(store, source, store->number[i]);
        if (result != DATABASE_DONE) {
            *why = database->why;
            store_failed(store, result, why);
            return false;
        }
    }
    return true;
}

static bool make_files(struct store *store, struct error *why)
{
    if (!repair_note_missing(store->directory, store->config, why))
        return false;
    enum database_result result = schema_make(store->directory, why);
    if (result != DATABASE_DONE) {
        store_failed(store, result, why);
        return false;
    }
    return true;
}

/* Without a log undoing and settling write where the file system may want new room for each block: a reserve that was
 * needed is needed whole before more events are accepted, unless most of what waited is gone. */
static int64_t least_reserve(struct store *store, struct database *database)
{
    enum database_result result;
    if (database->wal)
        return 0;
    int64_t pages = database_number(database, STATEMENT_PAGES, &result);
    int64_t unused = result == DATABASE_DONE ? database_number(database, STATEMENT_FREE_PAGES, &result) : 0;
    return result == DATABASE_DONE && unused >= pages / 2 ? 0 : reserve_given_up(store->directory);
}

bool store_make_reserve(struct store *store, struct database *database)
{
    int64_t least = reserve_is_there(store->directory) ? 0 : least_reserve(store, database);
    return reserve_make(store->directory, reserve_bytes(store->config->max_body), least);
}

bool store_replace_reserve(struct store *store, struct database *database, struct error *why)
{
    if (!store_is_in_place(store, why))
        return false;
    if (reserve_is_there(store->directory))
        return true; /* somebody else was faster */
    if (store_make_reserve(store, database)) {
        if (atomic_exchange(&store->reserve_gone, false))
            return true; /* this process has given it up, and a success of another one ended the note of that */
        log_write(LEVEL_WARN,
                  "msg=reserve_replaced state_dir=\"%s\" reason=\"the file reserve was removed while the program runs, "
                  "and was made anew\" advice=\"leave it: on a full disk its room is for noting what was delivered\"",
                  store->directory);
        return true;
    }
    int error = errno;
    if (no_room_is(error))
        error_set(why, "no room for the reserve: %s: %s", no_room_words(error), no_room_advice(error));
    else
        error_set(why, "the file reserve was removed while the program runs, and cannot be made anew in %.200s: %s",
                  store->directory, strerror(error));
    store_failed(store, no_room_is(error) ? DATABASE_FULL : DATABASE_FAILED, why);
    return false;
}

static void make_reserve(struct store *store)
{
    struct error no_room;
    if (store_make_reserve(store, &store->group.database))
        return;
    int error = errno;
    atomic_store(&store->reserve_gone, true);
    error_set(&no_room, "no room for the reserve: %s: %s", no_room_words(error), no_room_advice(error));
    store_failed(store, DATABASE_FULL, &no_room);
}

static bool open_database(struct store *store, struct error *why)
{
    for (int tries = 0; tries < 2; tries++) {
        if (repair_is_due(store->directory) && !repair(store, why))
            return false;
        if (!make_files(store, why))
            return false;
        enum database_result result = schema_open(&store->group.database, store->directory, true);
        if (result == DATABASE_DONE) {
            make_reserve(store);
            return true;
        }
        *why = store->group.database.why;
        bool again = result == DATABASE_DAMAGED ||
                     (result == DATABASE_FULL && store_give_up_reserve(store, &store->group.database));
        store_failed(store, result, why);
        database_close(&store->group.database);
        if (!again)
            return false;
    }
    return false;
}

/* Call after the database was read, so that its log exists. */
static bool record_open_files(struct store *store, struct error *why)
{
    struct database *database = &store->group.database;
    int moved = 0;
    sqlite3_file_control(database->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    store->is_open = open_files_record(&store->files, store->directory, database->wal) && moved == 0;
    if (!store->is_open)
        error_set(why, "files of the queue in %.300s were replaced while it was being opened", store->directory);
    return store->is_open;
}

static void store_close(void *state)
{
    struct store *store = state;
    store_stop_writer(store);
    housekeeper_stop(store);
    if (store->is_open)
        store_save(store, true); /* before another process can become the owner */
    store_release(store);
    if (store->reading)
        database_close(&store->reader);
    database_close(&store->group.database);
    group_free(&store->group);
    mirror_free(&store->mirror);
    bloom_free(&store->bloom);
    pthread_mutex_destroy(&store->mirror_lock);
    free(store->number);
    free(store->settled);
    if (store->open_lock >= 0)
        close(store->open_lock);
    free(store);
}

/* Removes what a killed restore or migration left: while the open lock is held none is running. */
static void remove_left_restore(const char *directory)
{
    char path[STATE_PATH];
    directory_path(path, directory, BACKUP_BUILT);
    if (access(path, F_OK) != 0)
        return;
    backup_remove_built(directory);
    log_write(LEVEL_WARN,
              "msg=left_over_removed file=\"%s\" reason=\"a restore or migration was killed before its end\"", path);
}

static int64_t limit_of_files(void)
{
    struct rlimit limit;
    bool limited = getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < (rlim_t)INT64_MAX;
    return limited ? (int64_t)limit.rlim_cur : INT64_MAX;
}

static void *store_open(const struct config *config, struct error *why)
{
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL || !group_init(&store->group)) {
        error_set(why, "out of memory");
        free(store);
        return NULL;
    }
    store->config = config;
    store->open_lock = store->forward_lock = store->directory_lock = store->wake_fd = -1;
    store->group.database.write_lock = -1;
    store->file_limit = limit_of_files();
    pthread_mutex_init(&store->mirror_lock, NULL);
    strncpy(store->directory, config->state_dir, sizeof store->directory - 1);
    reserve_path(store->reserve, store->directory);
    bool good =
        directory_prepare(store->directory, why) && lock_open(store, why) && merge_replaced_files(store, why) &&
        open_database(store, why) && prepare_sources(store, why) && record_open_files(store, why) &&
        /* The directory entries of database and log must survive a power cut before the first event is answered. */
        files_sync(store->directory, why);
    if (good) {
        remove_left_restore(store->directory);
        store_look_at_limit(store);
        return store;
    }
    store_close(store);
    return NULL;
}

static void store_library(char out[static QUEUE_LIBRARY])
{
    bool bug = checkpoint_has_reset_bug(sqlite3_libversion_number());
    snprintf(out, QUEUE_LIBRARY, "SQLite %s%s", sqlite3_libversion(),
             bug ? ", which may have the WAL-reset bug: this program avoids it" : "");
}

const struct engine queue_engine_sqlite = {
    .open = store_open,
    .append = store_append,
    .append_start = store_append_start,
    .append_give_up = store_append_give_up,
    .append_end = store_append_end,
    .start_writer = store_start_writer,
    .set_stop_deadline = store_set_stop_deadline,
    .claim = store_claim,
    .next = store_next,
    .again = store_again,
    .known = store_known,
    .settle = store_settle,
    .can_settle = store_can_settle,
    .note = store_note,
    .take_request = store_take_request,
    .answer_request = store_answer_request,
    .wake_fd = store_wake_fd,
    .clear_wakeup = store_clear_wakeup,
    .has_reader = store_has_reader,
    .is_steady = store_is_steady,
    .must_reopen = store_must_reopen,
    .close = store_close,
    .library = store_library,
    .settles_in_bulk = store_settles_in_bulk,
    .reads = 64, /* more at once is no faster, and takes memory */
    .inspection = &store_inspection,
};
