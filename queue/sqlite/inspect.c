/* Inspection and operator commands: counts, lists, dead letters. Short transactions only. */
#include "queue/inspect.h"
#include "base/files.h"
#include "config/keyring.h"
#include "queue/sqlite/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Ends a transaction of database_begin. */
static bool end_transaction(struct store *store, enum database_result result, struct error *why)
{
    result = database_end(&store->reader, result);
    return result == DATABASE_DONE || store_reader_failed(store, result, why);
}

/* ---- counts ---- */

static bool store_names(void *state, struct strings *names, struct error *why)
{
    struct store *store = state;
    enum database_result result;
    if (!store_reader(store, why))
        return false;
    sqlite3_stmt *sources = database_statement(&store->reader, STATEMENT_SOURCES, 0);
    while (database_step(&store->reader, sources, &result) == SQLITE_ROW) {
        char **at = realloc(names->at, (names->count + 1) * sizeof *at);
        char *name = strdup((const char *)sqlite3_column_text(sources, 0));
        if (at != NULL)
            names->at = at;
        if (at == NULL || name == NULL) {
            free(name);
            error_set(&store->reader.why, "out of memory");
            result = DATABASE_FAILED;
            break;
        }
        names->at[names->count++] = name;
    }
    sqlite3_reset(sources);
    if (result == DATABASE_DONE)
        return true;
    queue_names_free(names);
    return store_reader_failed(store, result, why);
}

static enum database_result read_kinds(struct database *database, uint32_t number, uint64_t kinds[COUNT_KINDS])
{
    enum database_result result;
    sqlite3_stmt *counts = database_statement(database, STATEMENT_COUNTS, 0);
    if (counts != NULL)
        sqlite3_bind_int64(counts, 1, number);
    while (database_step(database, counts, &result) == SQLITE_ROW) {
        int64_t kind = sqlite3_column_int64(counts, 0);
        if (kind > 0 && kind < COUNT_KINDS)
            kinds[kind] = (uint64_t)sqlite3_column_int64(counts, 1);
    }
    if (result == DATABASE_DONE)
        sqlite3_reset(counts);
    return result;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* The last id ever assigned is the number of events appended; those not settled wait. */
static enum database_result count_source(struct database *database, uint32_t number, const struct config *config,
                                         struct counts *counts)
{
    uint64_t kinds[COUNT_KINDS] = {0};
    int64_t appended, letters, newest;
    enum database_result result = read_kinds(database, number, kinds);
    if (result == DATABASE_DONE)
        result = database_ask_with(database, STATEMENT_SEQUENCE, 0, number, &appended);
    if (result == DATABASE_DONE)
        result = database_ask_with(database, STATEMENT_LETTER_COUNT, 0, number, &letters);
    if (result == DATABASE_DONE)
        result = database_ask_with(database, STATEMENT_OLDEST, number, 0, &counts->oldest_received_ms);
    if (result == DATABASE_DONE)
        result = database_ask_with(database, STATEMENT_NEWEST, number, 0, &newest);
    if (result == DATABASE_DONE)
        result = letters_ending(database, number, config->dead_retention_ms, &counts->ending, &counts->ending_ms);
    if (result != DATABASE_DONE)
        return result;
    uint64_t settled = kinds[COUNT_DELIVERED] + kinds[COUNT_DUPLICATES] + kinds[COUNT_DROPPED] + kinds[COUNT_DEAD];
    counts->waiting = less((uint64_t)appended, settled + kinds[COUNT_MOVED_OUT] + kinds[COUNT_LOST]);
    counts->accepted = less((uint64_t)appended, kinds[COUNT_REPLAYS] + kinds[COUNT_MOVED_IN]);
    counts->delivered = kinds[COUNT_DELIVERED];
    counts->duplicates = kinds[COUNT_DUPLICATES];
    counts->dropped = kinds[COUNT_DROPPED];
    counts->dead = (uint64_t)letters;
    counts->ended = kinds[COUNT_ENDED];
    counts->lost = kinds[COUNT_LOST];
    /* Each death added a letter or, of a replay, brought one back. */
    counts->discarded = less(kinds[COUNT_DEAD], kinds[COUNT_REPLAYS] + (uint64_t)letters + kinds[COUNT_ENDED]);
    counts->last_delivered_ms = (int64_t)kinds[COUNT_LAST_DELIVERED];
    counts->last_accepted_ms = (int64_t)kinds[COUNT_LAST_ACCEPTED];
    if (newest > counts->last_accepted_ms)
        counts->last_accepted_ms = newest;
    return result;
}

static bool store_count(void *state, const char *source, struct counts *counts, struct error *why)
{
    struct store *store = state;
    memset(counts, 0, sizeof *counts);
    if (!store_reader(store, why))
        return false;
    uint32_t number = store_number(store, source);
    if (number == 0)
        return true;
    enum database_result result = database_begin_reading(&store->reader); /* one snapshot */
    if (result == DATABASE_DONE)
        result = count_source(&store->reader, number, store->config, counts);
    database_end_reading(&store->reader);
    return result == DATABASE_DONE || store_reader_failed(store, result, why);
}

static bool store_room(void *state, struct queue_room *room, struct error *why)
{
    struct store *store = state;
    enum database_result result;
    if (!store_reader(store, why))
        return false;
    int64_t pages = database_number(&store->reader, STATEMENT_PAGES, &result);
    int64_t unused = result == DATABASE_DONE ? database_number(&store->reader, STATEMENT_FREE_PAGES, &result) : 0;
    int64_t letters = result == DATABASE_DONE ? letters_bytes(&store->reader, &result) : 0;
    if (result != DATABASE_DONE)
        return store_reader_failed(store, result, why);
    room->used = pages > unused ? (uint64_t)(pages - unused) * 16384 : 0;
    room->letters = (uint64_t)letters;
    room->share = (uint64_t)letters_share(store->config->queue_max_bytes);
    return true;
}

/* ---- dead letters ---- */

static bool add_letter(sqlite3_stmt *row, struct letters *found)
{
    struct letter letter = {
        .id = (uint64_t)sqlite3_column_int64(row, 0),
        .source = (const char *)sqlite3_column_text(row, 1),
        .reason = (const char *)sqlite3_column_text(row, 2),
        .body = sqlite3_column_blob(row, 3),
        .length = (size_t)sqlite3_column_bytes(row, 3),
        .received_ms = sqlite3_column_int64(row, 4),
        .died_ms = sqlite3_column_int64(row, 5),
        .replayed = sqlite3_column_type(row, 6) != SQLITE_NULL,
    };
    return letters_add(found, &letter);
}

static int store_letters(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                         struct letters *found, struct error *why)
{
    struct store *store = state;
    enum database_result result = DATABASE_DONE;
    letters_clear(found);
    if (!store_reader(store, why))
        return -1;
    sqlite3_stmt *letters =
        database_statement(&store->reader, source == NULL ? STATEMENT_LETTERS : STATEMENT_LETTERS_OF, 0);
    if (letters != NULL)
        sqlite3_bind_int64(letters, 1, (int64_t)after);
    if (letters != NULL && source != NULL)
        sqlite3_bind_text(letters, 2, source, -1, SQLITE_STATIC);
    while (found->count < max_count && database_step(&store->reader, letters, &result) == SQLITE_ROW) {
        if (found->count > 0 && found->texts.length + (size_t)sqlite3_column_bytes(letters, 3) > max_bytes)
            break;
        if (!add_letter(letters, found)) {
            error_set(&store->reader.why, "out of memory");
            result = DATABASE_FAILED;
            break;
        }
    }
    sqlite3_reset(letters);
    if (result != DATABASE_DONE) {
        store_reader_failed(store, result, why);
        return -1;
    }
    letters_finish(found);
    return (int)found->count;
}

/* Appends one letter as a new event. */
static enum database_result replay_one(struct store *store, uint64_t id, size_t *done)
{
    struct database *database = &store->reader;
    int64_t number;
    enum database_result result = database_ask_with(database, STATEMENT_LETTER, 0, (int64_t)id, &number);
    if (result != DATABASE_DONE || number == 0)
        return result; /* gone, or being replayed */
    int64_t letter = (int64_t)id;
    result = database_run_with(database, STATEMENT_REPLAY, (uint32_t)number, &letter, 1);
    int64_t mark[] = {letter, clock_unix_ms()};
    if (result == DATABASE_DONE)
        result = database_run_with(database, STATEMENT_LETTER_ON_ITS_WAY, 0, mark, 2);
    int64_t count[] = {number, COUNT_REPLAYS, 1};
    if (result == DATABASE_DONE)
        result = database_run_with(database, STATEMENT_ADD_COUNT, 0, count, 3);
    if (result == DATABASE_DONE)
        ++*done;
    return result;
}

static enum database_result discard_one(struct store *store, uint64_t id, size_t *done)
{
    bool deleted = false;
    int64_t number;
    enum database_result result = database_ask_with(&store->reader, STATEMENT_LETTER, 0, (int64_t)id, &number);
    if (result != DATABASE_DONE || number == 0)
        return result; /* gone, or being replayed: its event would be the duplicate of an identity that is kept */
    result = letters_delete(&store->reader, (int64_t)id, store->config->dedupe_window_ms, &deleted);
    *done += deleted;
    return result;
}

static bool for_each(struct store *store, const uint64_t *ids, size_t count,
                     enum database_result (*act)(struct store *, uint64_t, size_t *), size_t *done, struct error *why)
{
    *done = 0;
    if (!store_reader(store, why))
        return false;
    enum database_result result = database_begin(&store->reader);
    if (result != DATABASE_DONE)
        return store_reader_failed(store, result, why);
    for (size_t i = 0; i < count && result == DATABASE_DONE; i++)
        result = act(store, ids[i], done);
    return end_transaction(store, result, why);
}

static bool store_replay(void *state, const uint64_t *ids, size_t count, size_t *done, struct error *why)
{
    struct store *store = state;
    if (!for_each(store, ids, count, replay_one, done, why))
        return false;
    wake_send(store->directory, &store->group.wake_fd);
    return true;
}

static bool store_discard(void *state, const uint64_t *ids, size_t count, size_t *done, struct error *why)
{
    return for_each(state, ids, count, discard_one, done, why);
}

static void store_wake(void *state)
{
    struct store *store = state;
    wake_send(store->directory, &store->group.wake_fd);
}

/* ---- checking ---- */

static bool store_check(void *state, void (*report)(void *context, const char *fault), void *context, size_t *faults,
                        struct error *why)
{
    struct store *store = state;
    sqlite3_stmt *check = NULL;
    enum database_result result;
    *faults = 0;
    if (!store_reader(store, why))
        return false;
    int code = sqlite3_prepare_v2(store->reader.db, "PRAGMA integrity_check(100)", -1, &check, NULL);
    result = database_result_of(&store->reader, code);
    while (result == DATABASE_DONE && database_step(&store->reader, check, &result) == SQLITE_ROW) {
        const char *words = (const char *)sqlite3_column_text(check, 0);
        if (strcmp(words, "ok") == 0)
            continue;
        ++*faults;
        report(context, words);
    }
    sqlite3_finalize(check);
    if (result == DATABASE_DAMAGED) {
        ++*faults;
        report(context, store->reader.why.text);
        result = DATABASE_DONE;
    }
    if (*faults > 0)
        damage_mark(store->directory); /* repaired by the next process that opens it, once all have closed it */
    return result == DATABASE_DONE || store_reader_failed(store, result, why);
}

const struct inspection store_inspection = {
    .names = store_names,
    .count = store_count,
    .room = store_room,
    .look_known = store_look_known,
    .notes = store_read_notes,
    .is_owned = store_is_owned,
    .stands = store_stands,
    .has_room = store_has_room,
    .can_be_settled = store_can_be_settled,
    .list = store_next,
    .letters = store_letters,
    .replay = store_replay,
    .discard = store_discard,
    .ask = store_ask,
    .remind = store_remind,
    .answer = store_answer,
    .withdraw = store_withdraw,
    .move = store_move,
    .check = store_check,
    .backup = store_backup,
    .scrub = store_scrub,
    .wake = store_wake,
    .probe = store_probe,
};

/* ---- queue_left_behind: what is in a state directory that is configured with another queue ---- */

/* Counts as count_source does: of all ids assigned, those not settled. */
static const char waiting_text[] =
    "SELECT coalesce(sum(max(0, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event_' || s.number), 0)"
    " - (SELECT coalesce(sum(c.n), 0) FROM count c WHERE c.source = s.number AND c.kind IN (1, 2, 3, 4, 7, 10))"
    ")), 0) FROM source s";

_Static_assert(COUNT_DELIVERED == 1 && COUNT_DUPLICATES == 2 && COUNT_DROPPED == 3 && COUNT_DEAD == 4 &&
                   COUNT_MOVED_OUT == 7 && COUNT_LOST == 10,
               "the statement above has these numbers");

static const char dead_text[] = "SELECT count(*) FROM letter WHERE replayed IS NULL";

static enum database_result count_by(struct database *database, const char *text, uint64_t *count)
{
    sqlite3_stmt *one = NULL;
    enum database_result result = database_result_of(database, sqlite3_prepare_v2(database->db, text, -1, &one, NULL));
    if (result == DATABASE_DONE && database_step(database, one, &result) == SQLITE_ROW)
        *count = (uint64_t)sqlite3_column_int64(one, 0);
    sqlite3_finalize(one);
    return result;
}

/* Keeps other processes from repairing or replacing the database meanwhile. A missing lock file is not created, as this
 * process may run as another user. */
static bool lock_shared(const char *directory, int *lock, struct error *why)
{
    char path[STATE_PATH];
    directory_path(path, directory, "open.lock");
    if (access(path, F_OK) != 0)
        return true;
    int error = lock_take(lock, path, LOCK_SH | LOCK_NB);
    if (error != 0)
        error_set(why, "cannot lock %.300s: %s", path, strerror(error));
    return error == 0;
}

/* What is in the database of a directory that this process does not use; nothing where there is none. */
static bool look_into(const char *directory, uint64_t *waiting, uint64_t *dead, bool *has_left, struct error *why)
{
    struct database database = {.write_lock = -1};
    char path[STATE_PATH];
    struct stat status;
    int lock = -1;
    *waiting = *dead = 0;
    *has_left = false;
    directory_path(path, directory, "queue.db");
    if (stat(path, &status) != 0 || status.st_size == 0)
        return true;
    bool good = lock_shared(directory, &lock, why);
    if (good) {
        enum database_result result = database_connect_to_look(&database, path);
        *has_left = result == DATABASE_DONE && migrates_has_left(&database);
        if (result == DATABASE_DONE && migrates_receives(&database))
            result = DATABASE_FAILED;
        if (result == DATABASE_DONE && !*has_left)
            result = count_by(&database, waiting_text, waiting);
        if (result == DATABASE_DONE && !*has_left)
            result = count_by(&database, dead_text, dead);
        good = result == DATABASE_DONE;
        if (!good)
            *why = database.why;
        database_close(&database);
    }
    if (lock >= 0)
        close(lock);
    return good;
}

bool queue_left_behind(const struct config *config, uint64_t *waiting, uint64_t *dead, bool *has_copy,
                       struct error *why)
{
    *waiting = *dead = 0;
    *has_copy = false;
    return config->queue == QUEUE_SQLITE || config->state_dir == NULL ||
           look_into(config->state_dir, waiting, dead, has_copy, why);
}

/* ---- queue_look_elsewhere: the same in state directories that were used before ---- */

/* Whether a process uses it: what waits there is delivered by that one. Without the file nobody ever did. */
static bool is_used(const char *directory)
{
    char path[STATE_PATH];
    int lock = -1;
    if (directory_has(directory, "forward.lock") && store_is_claimed(directory))
        return true;
    directory_path(path, directory, "open.lock");
    int error = directory_has(directory, "open.lock") ? lock_take(&lock, path, LOCK_SH | LOCK_NB) : 0;
    if (lock >= 0)
        close(lock);
    return error == EWOULDBLOCK; /* it is being opened, repaired, restored */
}

static bool has_keys(const char *directory)
{
    struct keyring held;
    if (!keyring_read(directory, &held, NULL))
        return false;
    bool any = held.count > 0;
    keyring_free(&held);
    return any;
}

void queue_look_elsewhere(const struct config *config, struct left_elsewhere *left)
{
    struct strings places;
    state_places_before(config, &places);
    *left = (struct left_elsewhere){.waiting = 0};
    for (size_t i = 0; i < places.count && left->directory[0] == '\0'; i++) {
        struct error why = {0};
        if (is_used(places.at[i]))
            continue;
        bool has_left, known = look_into(places.at[i], &left->waiting, &left->dead, &has_left, &why);
        if (known && left->waiting + left->dead == 0)
            continue;
        snprintf(left->directory, sizeof left->directory, "%s", places.at[i]);
        left->keys = has_keys(places.at[i]);
        left->why = why;
    }
    queue_names_free(&places);
}

void queue_look_for_other(const struct config *config, char where[static PATH_MAX])
{
    where[0] = '\0';
    if (config->queue == QUEUE_SQLITE && directory_has(config->state_dir, "forward.lock"))
        state_forwarder_other(config, store_is_claimed(config->state_dir), where);
}
