/* Settling, in one transaction: deletes the events' rows, stores their identities, counts them, and stores dead
 * letters. */
#include "base/error.h"
#include "queue/sqlite/files.h"
#include "queue/sqlite/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPARE_BYTES 65536 /* beyond what a settling writes, as other writes may need more pages meanwhile */

/* A settling in progress. */
struct settling {
    struct store *store;
    struct database *database;
    uint32_t number; /* of the source */
    int64_t now;     /* Unix time, ms */
    uint64_t *ids;   /* room for one of each verdict: of the events that ended, sorted once their rows are deleted */
    size_t ended;
    int64_t received; /* when the last of those came; Unix time, ms */
    uint64_t counts[COUNT_KINDS];
};

/* What settling has to know of an event: never its body. */
struct waiting_event {
    int64_t received; /* Unix time, ms */
    int64_t length;   /* bytes of its body */
};

/* ---- dead letters ---- */

static void bind_identity(sqlite3_stmt *statement, int at, const struct verdict *verdict)
{
    if (verdict->remember) {
        sqlite3_bind_blob(statement, at, verdict->identity.key, sizeof verdict->identity.key, SQLITE_STATIC);
        sqlite3_bind_int64(statement, at + 1, verdict->identity.updated_us);
    } else {
        sqlite3_bind_null(statement, at);
        sqlite3_bind_null(statement, at + 1);
    }
}

/* The dead letter that an event replays; 0: none. */
static enum database_result letter_of(const struct settling *s, uint64_t id, int64_t *letter)
{
    enum database_result result;
    sqlite3_stmt *find = database_statement(s->database, STATEMENT_LETTERS_IN, s->number);
    *letter = 0;
    if (find != NULL) {
        sqlite3_bind_int64(find, 1, (int64_t)id);
        sqlite3_bind_int64(find, 2, (int64_t)id);
    }
    if (database_step(s->database, find, &result) == SQLITE_ROW)
        *letter = sqlite3_column_int64(find, 1);
    if (result == DATABASE_DONE)
        sqlite3_reset(find);
    return result;
}

/* Copies an event's body into its letter, which has the room for it, in pieces: it may be larger than the memory that
 * is left, and settling that fails would fail for ever. */
static enum database_result copy_body(const struct settling *s, int64_t event, int64_t letter)
{
    char table[32], piece[DATABASE_PAGE];
    sqlite3 *db = s->database->db;
    sqlite3_blob *from = NULL, *to = NULL;
    snprintf(table, sizeof table, "event_%u", (unsigned)s->number);
    int code = sqlite3_blob_open(db, "main", table, "body", event, 0, &from);
    if (code == SQLITE_OK)
        code = sqlite3_blob_open(db, "main", "letter", "body", letter, 1, &to);
    int length = code == SQLITE_OK ? sqlite3_blob_bytes(from) : 0;
    for (int at = 0; at < length && code == SQLITE_OK; at += (int)sizeof piece) {
        int size = length - at < (int)sizeof piece ? length - at : (int)sizeof piece;
        code = sqlite3_blob_read(from, piece, size, at);
        if (code == SQLITE_OK)
            code = sqlite3_blob_write(to, piece, size, at);
    }
    enum database_result result = database_result_of(s->database, code);
    sqlite3_blob_close(from);
    sqlite3_blob_close(to);
    return result;
}

/* id: the letter's; 0: a new one. */
static enum database_result add_letter(const struct settling *s, int64_t id, const struct verdict *verdict,
                                       const struct waiting_event *event)
{
    sqlite3_stmt *add = database_statement(s->database, STATEMENT_ADD_LETTER, 0);
    if (add != NULL) {
        sqlite3_bind_int64(add, 1, s->number);
        bind_identity(add, 2, verdict);
        sqlite3_bind_int64(add, 4, event->received);
        sqlite3_bind_int64(add, 5, s->now);
        sqlite3_bind_text(add, 6, verdict->reason == NULL ? "" : verdict->reason, -1, SQLITE_STATIC);
        sqlite3_bind_zeroblob64(add, 7, (sqlite3_uint64)event->length);
        if (id != 0)
            sqlite3_bind_int64(add, 8, id);
        else
            sqlite3_bind_null(add, 8);
    }
    enum database_result result = database_run(s->database, add);
    return result == DATABASE_DONE ? copy_body(s, (int64_t)verdict->id, sqlite3_last_insert_rowid(s->database->db))
                                   : result;
}

/* Stores a dead letter. A replay that failed again takes its letter's place and number; where that was deleted
 * meanwhile it is a new one. */
static enum database_result add_dead_letter(struct settling *s, const struct verdict *verdict,
                                            const struct waiting_event *event)
{
    int64_t letter = 0;
    enum database_result result = s->store->any_letter ? letter_of(s, verdict->id, &letter) : DATABASE_DONE;
    s->store->any_letter = true;
    if (result == DATABASE_DONE && letter != 0)
        result = database_run_with(s->database, STATEMENT_RESOLVE_LETTER, 0, &letter, 1);
    if (result != DATABASE_DONE)
        return result;
    return add_letter(s, letter != 0 && sqlite3_changes(s->database->db) > 0 ? letter : 0, verdict, event);
}

/* An event that was delivered, or need not be, deletes the dead letters of its identity and the one it replays. */
static enum database_result resolve_letters(const struct settling *s, const struct verdict *verdict)
{
    int64_t letter = 0;
    enum database_result result = letter_of(s, verdict->id, &letter);
    if (result == DATABASE_DONE && letter != 0)
        result = database_run_with(s->database, STATEMENT_RESOLVE_LETTER, 0, &letter, 1);
    if (result != DATABASE_DONE || !verdict->remember)
        return result;
    sqlite3_stmt *resolve = database_statement(s->database, STATEMENT_RESOLVE_KEY, 0);
    if (resolve != NULL) {
        sqlite3_bind_int64(resolve, 1, s->number);
        bind_identity(resolve, 2, verdict);
    }
    return database_run(s->database, resolve);
}

/* ---- identities ---- */

static enum database_result remember(const struct settling *s, const struct verdict *verdict)
{
    sqlite3_stmt *add = database_statement(s->database, STATEMENT_ADD_JOURNAL, 0);
    if (add != NULL) {
        sqlite3_bind_int64(add, 1, s->number);
        sqlite3_bind_blob(add, 2, verdict->identity.key, sizeof verdict->identity.key, SQLITE_STATIC);
        sqlite3_bind_int64(add, 3, verdict->identity.updated_us);
        sqlite3_bind_int64(add, 4, s->now);
    }
    return database_run(s->database, add);
}

/* Before the commit: once an event no longer waits, the delivered mark must know its date, else the mark would go on to
 * the next event that waits. What then is not settled waits, and holds the mark back by itself. */
static void note_dates(struct settling *s, const struct verdict *verdicts, size_t count)
{
    pthread_mutex_lock(&s->store->mirror_lock);
    for (size_t i = 0; i < count; i++) {
        const struct verdict *v = &verdicts[i];
        if (v->remember && v->kind != VERDICT_LATER && v->kind != VERDICT_DUPLICATE)
            marks_settled(s->store, s->number, v->identity.updated_us);
    }
    pthread_mutex_unlock(&s->store->mirror_lock);
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* As in the journal: not those of events that were gone. With the mirror's lock held. */
static void mirror_all(struct settling *s, const struct verdict *verdicts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct verdict *v = &verdicts[i];
        if (!v->remember || v->kind == VERDICT_DUPLICATE || v->kind == VERDICT_DEAD || v->kind == VERDICT_LATER ||
            bsearch(&v->id, s->ids, s->ended, sizeof *s->ids, compare_ids) == NULL)
            continue;
        struct mirrored one = {.source = s->number, .updated = v->identity.updated_us, .at = s->now};
        memcpy(one.key, v->identity.key, sizeof one.key);
        mirror_add(&s->store->mirror, &one); /* cannot fail: reserved before the transaction */
    }
}

/* Under one lock: who merges the mirror deletes the journal's rows, and would delete those that are not in it yet. */
static enum database_result commit_and_mirror(struct settling *s, const struct verdict *verdicts, size_t count)
{
    pthread_mutex_lock(&s->store->mirror_lock);
    enum database_result result = database_commit(s->database);
    if (result == DATABASE_DONE)
        mirror_all(s, verdicts, count);
    pthread_mutex_unlock(&s->store->mirror_lock);
    return result;
}

/* ---- settling ---- */

static enum database_result settle_one(struct settling *s, const struct verdict *verdict,
                                       const struct waiting_event *event)
{
    static const enum count_kind kinds[] = {
        [VERDICT_DELIVERED] = COUNT_DELIVERED, [VERDICT_DUPLICATE] = COUNT_DUPLICATES,
        [VERDICT_DROPPED] = COUNT_DROPPED,     [VERDICT_DEAD] = COUNT_DEAD,
        [VERDICT_ERASED] = COUNT_DEAD, /* of a letter that is gone */
    };
    enum database_result result = DATABASE_DONE;
    s->counts[kinds[verdict->kind]]++;
    if (verdict->kind == VERDICT_DEAD)
        return add_dead_letter(s, verdict, event);
    if (s->store->any_letter)
        result = resolve_letters(s, verdict);
    if (result == DATABASE_DONE && verdict->remember && verdict->kind != VERDICT_DUPLICATE)
        result = remember(s, verdict);
    return result;
}

/* Deletes rows in ranges: a page whose rows all go is freed without being written. */
static enum database_result delete_rows(struct settling *s)
{
    enum database_result result = DATABASE_DONE;
    uint64_t *ids = s->ids;
    size_t count = s->ended;
    qsort(ids, count, sizeof *ids, compare_ids);
    for (size_t i = 0; i < count && result == DATABASE_DONE;) {
        size_t end = i + 1;
        while (end < count && ids[end] == ids[end - 1] + 1)
            end++;
        int64_t run[] = {(int64_t)ids[i], (int64_t)ids[end - 1]};
        result = database_run_with(s->database, STATEMENT_DELETE, s->number, run, 2);
        i = end;
    }
    return result;
}

static enum database_result note_times(struct settling *s)
{
    int64_t accepted[] = {s->number, COUNT_LAST_ACCEPTED, s->received, s->now};
    int64_t delivered[] = {s->number, COUNT_LAST_DELIVERED, s->now, s->now};
    enum database_result result = database_run_with(s->database, STATEMENT_SET_COUNT, 0, accepted, 4);
    if (result == DATABASE_DONE && s->counts[COUNT_DELIVERED] > 0)
        result = database_run_with(s->database, STATEMENT_SET_COUNT, 0, delivered, 4);
    return result;
}

static enum database_result add_counts(struct settling *s)
{
    enum database_result result = DATABASE_DONE;
    for (int kind = COUNT_DELIVERED; kind <= COUNT_DEAD && result == DATABASE_DONE; kind++) {
        int64_t values[] = {s->number, kind, (int64_t)s->counts[kind]};
        if (s->counts[kind] > 0)
            result = database_run_with(s->database, STATEMENT_ADD_COUNT, 0, values, 3);
    }
    return result;
}

/* Whether the event still exists, and what is to be known of it. After a crash or a move a verdict may refer to one
 * that is gone, which must not be counted. */
static enum database_result look_for_event(const struct settling *s, uint64_t id, bool *there,
                                           struct waiting_event *event)
{
    enum database_result result;
    sqlite3_stmt *one = database_statement(s->database, STATEMENT_RECEIVED, s->number);
    if (one != NULL)
        sqlite3_bind_int64(one, 1, (int64_t)id);
    *there = database_step(s->database, one, &result) == SQLITE_ROW;
    if (*there)
        *event = (struct waiting_event){sqlite3_column_int64(one, 0), sqlite3_column_int64(one, 1)};
    if (result == DATABASE_DONE)
        sqlite3_reset(one);
    return result;
}

static enum database_result settle_all(struct settling *s, const struct verdict *verdicts, size_t count)
{
    enum database_result result = DATABASE_DONE;
    s->ended = 0;
    for (size_t i = 0; i < count && result == DATABASE_DONE; i++) {
        bool there = false;
        struct waiting_event event = {0};
        if (verdicts[i].kind != VERDICT_LATER)
            result = look_for_event(s, verdicts[i].id, &there, &event);
        if (result != DATABASE_DONE || !there)
            continue;
        s->ids[s->ended++] = verdicts[i].id;
        s->received = event.received > s->received ? event.received : s->received;
        result = settle_one(s, &verdicts[i], &event);
    }
    if (result == DATABASE_DONE && s->ended > 0)
        result = note_times(s);
    if (result == DATABASE_DONE)
        result = delete_rows(s);
    return result == DATABASE_DONE ? add_counts(s) : result;
}

/* Writes more than the settling does and rolls back: the log keeps its size, so the settling will find room. A rollback
 * journal likewise shows whether there is room. */
static enum database_result write_and_undo(struct settling *s)
{
    sqlite3_stmt *more = database_statement(s->database, STATEMENT_ADD_JOURNAL, 0);
    if (more != NULL) {
        sqlite3_bind_int64(more, 1, s->number);
        sqlite3_bind_zeroblob(more, 2, SPARE_BYTES);
        sqlite3_bind_int64(more, 3, 0);
        sqlite3_bind_int64(more, 4, s->now);
    }
    enum database_result result = database_run(s->database, more);
    if (result == DATABASE_DONE) {
        int code = sqlite3_db_cacheflush(s->database->db);
        result =
            code == SQLITE_BUSY ? DATABASE_DONE : database_result_of(s->database, code); /* busy with readers: no log */
    }
    database_rollback(s->database);
    return result;
}

/* undone: rolls back, to test only whether there is room. */
static enum database_result settle_in_transaction(struct settling *s, const struct verdict *verdicts, size_t count,
                                                  bool undone)
{
    enum database_result result = database_begin(s->database);
    if (result != DATABASE_DONE)
        return result;
    memset(s->counts, 0, sizeof s->counts);
    s->store->any_letter = database_number(s->database, STATEMENT_ANY_LETTER, &result) != 0;
    if (result == DATABASE_DONE)
        result = settle_all(s, verdicts, count);
    if (result == DATABASE_DONE)
        return undone ? write_and_undo(s) : commit_and_mirror(s, verdicts, count);
    database_rollback(s->database);
    return result;
}

/* Without room, tries once more with the space of the reserve. */
static enum database_result settle_with_reserve(struct settling *s, const struct verdict *verdicts, size_t count,
                                                bool undone)
{
    enum database_result result = settle_in_transaction(s, verdicts, count, undone);
    if (result == DATABASE_FULL && store_give_up_reserve(s->store, s->database))
        result = settle_in_transaction(s, verdicts, count, undone);
    return result;
}

static bool has_ends(const struct verdict *verdicts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (verdicts[i].kind != VERDICT_LATER)
            return true;
    }
    return false;
}

static bool make_room(struct store *store, size_t count, uint64_t **ids, struct error *why)
{
    pthread_mutex_lock(&store->mirror_lock);
    bool good = mirror_reserve(&store->mirror, count);
    pthread_mutex_unlock(&store->mirror_lock);
    *ids = malloc(count * sizeof **ids);
    if (good && *ids != NULL)
        return true;
    error_set(why, "out of memory");
    store->reader.error = ENOMEM;
    return false;
}

/* Settles in one transaction; without room for it, in halves, each in a transaction, recursively down to single events.
 * Verdicts on settled events change nothing, so that the caller may pass all of them again. */
static enum database_result settle_what_fits(struct settling *s, const struct verdict *verdicts, size_t count)
{
    enum database_result result = settle_with_reserve(s, verdicts, count, false);
    if (result != DATABASE_FULL || count < 2)
        return result;
    result = settle_what_fits(s, verdicts, count / 2);
    if (result == DATABASE_DONE)
        result = settle_what_fits(s, verdicts + count / 2, count - count / 2);
    return result;
}

/* Records the result for `check`, which runs in another process. */
static void note_result(struct store *store, enum database_result result)
{
    if (result == DATABASE_FULL || result == DATABASE_FAILED)
        unsettled_note(store->directory, store->reader.error);
    else if (result == DATABASE_DONE && !store->settles)
        unsettled_note(store->directory, 0);
}

bool store_settle(void *state, const char *source, const struct verdict *verdicts, size_t count, struct error *why)
{
    struct store *store = state;
    uint64_t *ids = NULL;
    if (!has_ends(verdicts, count))
        return true; /* nothing to settle */
    if (!store_reader(store, why) || !make_room(store, count, &ids, why)) {
        note_result(store, DATABASE_FAILED);
        free(ids);
        return false;
    }
    struct settling s = {.store = store,
                         .database = &store->reader,
                         .number = store_number(store, source),
                         .now = clock_unix_ms(),
                         .ids = ids};
    note_dates(&s, verdicts, count);
    enum database_result result = settle_what_fits(&s, verdicts, count);
    free(ids);
    housekeeper_call(store); /* also without room: a checkpoint lets the log restart */
    note_result(store, result);
    store->settles = result == DATABASE_DONE;
    if (result == DATABASE_DONE) {
        struct error displaced;
        atomic_store(&store->committed_ms, clock_unix_ms());
        store_is_in_place(store, &displaced);
        return true;
    }
    *why = store->reader.why;
    store_failed(store, result, why);
    return false;
}

/* Whether settling may fail. Not for a full disk with a reserve, which exists for settling; always under a limit on
 * files, which the reserve does not lift, whatever worked before: the log may end there. */
static bool is_in_doubt(const struct store *store)
{
    if (store->file_limit != INT64_MAX)
        return true;
    if (store->settles)
        return false;
    int error = no_room_of(store->directory);
    return !reserve_is_there(store->directory) || (error != 0 && !no_room_helped_by_space(error));
}

/* Verdicts that wait for others are sent again where settling then fails: so none waits where it may. */
bool store_settles_in_bulk(void *state)
{
    const struct store *store = state;
    return store->file_limit == INT64_MAX && !atomic_load_explicit(&store->reserve_gone, memory_order_relaxed);
}

bool store_can_settle(void *state, const char *source, const struct verdict *verdicts, size_t count, struct error *why)
{
    struct store *store = state;
    /* Replaced files were saved before must_reopen was set: what is settled from then on is forgotten if the process is
     * killed before it saves them again, at its end. */
    if (atomic_load(&store->must_reopen)) {
        error_set(why, "the queue must be opened anew");
        return false;
    }
    if (!is_in_doubt(store))
        return true;
    uint64_t *ids = malloc(count * sizeof *ids);
    if (ids == NULL || !store_reader(store, why)) {
        if (ids == NULL)
            error_set(why, "out of memory");
        free(ids);
        return false;
    }
    struct settling s = {.store = store,
                         .database = &store->reader,
                         .number = store_number(store, source),
                         .now = clock_unix_ms(),
                         .ids = ids};
    enum database_result result = settle_with_reserve(&s, verdicts, count, true);
    free(ids);
    if (result == DATABASE_DONE || count < 2) /* else part of it may have room */
        note_result(store, result);
    if (result == DATABASE_DONE)
        return true;
    housekeeper_call(store); /* a checkpoint lets the log restart */
    *why = store->reader.why;
    store_failed(store, result, why);
    return false;
}
