/* Moving everything of a source to another: queue_move of inspect.h. Each step is a short transaction, and the tables
 * show what is left to do, so that a move can be killed at any point and called again.
 *
 * Identities go first: before an event waits for the new source, the identities delivered under the old name must be
 * known. They go into the index, never into the journal: that belongs to its owner, who deletes rows that its mirror
 * does not have. Each step increments COUNT_MOVES, by which the owner notices that its Bloom filter is incomplete. */
#include <string.h>

#include "queue/sqlite/store.h"

#define EVENTS_AT_ONCE 500
#define IDENTITIES_AT_ONCE 4096
#define LETTERS_AT_ONCE 100

struct move {
    struct store *store;
    struct database *database;
    uint32_t from, to;
    int64_t journal; /* last journal row copied */
    struct moved *moved;
};

/* Runs SQL in which each %u is the number of the old or the new source. */
static enum database_result execute_move(const struct move *move, const char *format, uint32_t first, uint32_t second)
{
    char text[512];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* constant texts below */
    sqlite3_snprintf(sizeof text, text, format, (unsigned)first, (unsigned)second);
#pragma GCC diagnostic pop
    return database_result_of(move->database, sqlite3_exec(move->database->db, text, NULL, NULL, NULL));
}

/* ---- identities ---- */

static enum database_result count_move(const struct move *move)
{
    const int64_t count[] = {0, COUNT_MOVES, 1};
    return database_run_with(move->database, STATEMENT_ADD_COUNT, 0, count, 3);
}

/* Finds the last of the old source's next keys, as many as a step moves. Returns false when there is none. */
static bool find_last_key(const struct move *move, unsigned char key[static 16], enum database_result *result)
{
    sqlite3_stmt *find = database_statement(move->database, STATEMENT_MOVE_KNOWN_UP_TO, 0);
    if (find != NULL) {
        sqlite3_bind_int64(find, 1, move->from);
        sqlite3_bind_int64(find, 2, IDENTITIES_AT_ONCE);
    }
    bool found = database_step(move->database, find, result) == SQLITE_ROW && sqlite3_column_bytes(find, 0) == 16;
    if (found)
        memcpy(key, sqlite3_column_blob(find, 0), 16);
    if (*result == DATABASE_DONE)
        sqlite3_reset(find);
    return found;
}

/* Moves a step's identities of the index. Only those count that the new source did not know: an earlier call may have
 * copied them from the journal, before their owner merged that into the index. *more: there may be more. */
static enum database_result move_known(struct move *move, bool *more)
{
    unsigned char key[16];
    enum database_result result;
    *more = find_last_key(move, key, &result);
    if (!*more)
        return result;
    sqlite3_stmt *copy = database_statement(move->database, STATEMENT_MOVE_KNOWN, 0);
    if (copy != NULL) {
        sqlite3_bind_int64(copy, 1, move->from);
        sqlite3_bind_int64(copy, 2, move->to);
        sqlite3_bind_blob(copy, 3, key, sizeof key, SQLITE_STATIC);
    }
    result = database_run(move->database, copy);
    int copied = result == DATABASE_DONE ? sqlite3_changes(move->database->db) : 0;
    sqlite3_stmt *away =
        result == DATABASE_DONE ? database_statement(move->database, STATEMENT_MOVE_KNOWN_AWAY, 0) : NULL;
    if (result != DATABASE_DONE)
        return result;
    if (away != NULL) {
        sqlite3_bind_int64(away, 1, move->from);
        sqlite3_bind_blob(away, 2, key, sizeof key, SQLITE_STATIC);
    }
    result = database_run(move->database, away);
    move->moved->identities += (uint64_t)copied;
    return result == DATABASE_DONE ? count_move(move) : result;
}

/* Copies a step's identities of the journal that the new source does not know yet. The rows stay: the owner merges them
 * into the index under the old source, where they expire. */
static enum database_result copy_journal(struct move *move, bool *more)
{
    enum database_result result;
    int64_t last = database_number(move->database, STATEMENT_JOURNAL_LAST, &result);
    int64_t first = result == DATABASE_DONE ? database_number(move->database, STATEMENT_JOURNAL_FIRST, &result) : 0;
    if (result != DATABASE_DONE)
        return result;
    if (move->journal < first - 1)
        move->journal = first - 1;
    int64_t end = move->journal + IDENTITIES_AT_ONCE < last ? move->journal + IDENTITIES_AT_ONCE : last;
    *more = end > move->journal;
    if (!*more)
        return result;
    const int64_t values[] = {move->from, move->to, move->journal, end};
    result = database_run_with(move->database, STATEMENT_MOVE_JOURNAL, 0, values, 4);
    int copied = result == DATABASE_DONE ? sqlite3_changes(move->database->db) : 0;
    move->journal = end;
    move->moved->identities += (uint64_t)copied;
    return copied > 0 ? count_move(move) : result;
}

/* ---- events, dead letters ---- */

/* Stores when the source last accepted an event: the newest waiting event shows that, and is about to be moved. */
static enum database_result keep_last_accepted(const struct move *move)
{
    int64_t newest = 0;
    enum database_result result = database_ask_with(move->database, STATEMENT_NEWEST, move->to, 0, &newest);
    const int64_t accepted[] = {move->to, COUNT_LAST_ACCEPTED, newest, clock_unix_ms()};
    return result == DATABASE_DONE && newest > 0
               ? database_run_with(move->database, STATEMENT_SET_COUNT, 0, accepted, 4)
               : result;
}

/* Moves a step's events in their order, after those waiting for the new source. */
static enum database_result move_events(struct move *move, bool *more)
{
    char text[256];
    struct database *database = move->database;
    int64_t last = 0;
    enum database_result result = database_ask_with(database, STATEMENT_MOVE_UP_TO, move->from, EVENTS_AT_ONCE, &last);
    *more = last != 0;
    if (result == DATABASE_DONE && *more)
        result = keep_last_accepted(move);
    if (result != DATABASE_DONE || !*more)
        return result;
    sqlite3_snprintf(sizeof text, text,
                     "INSERT INTO event_%u (received, letter, body) SELECT received, letter, body FROM event_%u"
                     " WHERE id <= %lld ORDER BY id",
                     (unsigned)move->to, (unsigned)move->from, (long long)last);
    result = database_result_of(database, sqlite3_exec(database->db, text, NULL, NULL, NULL));
    int64_t count = result == DATABASE_DONE ? sqlite3_changes(database->db) : 0;
    const int64_t run[] = {0, last}, in[] = {move->to, COUNT_MOVED_IN, count},
                  out[] = {move->from, COUNT_MOVED_OUT, count};
    if (result == DATABASE_DONE)
        result = database_run_with(database, STATEMENT_DELETE, move->from, run, 2);
    if (result == DATABASE_DONE)
        result = database_run_with(database, STATEMENT_ADD_COUNT, 0, in, 3);
    if (result == DATABASE_DONE)
        result = database_run_with(database, STATEMENT_ADD_COUNT, 0, out, 3);
    move->moved->events += (uint64_t)count;
    return result;
}

static enum database_result move_letters(struct move *move, bool *more)
{
    const int64_t values[] = {move->from, move->to, LETTERS_AT_ONCE};
    enum database_result result = database_run_with(move->database, STATEMENT_MOVE_LETTERS, 0, values, 3);
    int count = result == DATABASE_DONE ? sqlite3_changes(move->database->db) : 0;
    move->moved->letters += (uint64_t)count;
    *more = count > 0;
    return result;
}

/* ---- counts ---- */

/* SQL with the new source's number (the first %u) and the old one's. Counts are added; of times the later one wins. */
static const char *const count_texts[] = {
    "INSERT INTO count (source, kind, n) SELECT %u, kind, n FROM count WHERE source = %u AND kind NOT IN (8, 9)"
    " ON CONFLICT (source, kind) DO UPDATE SET n = n + excluded.n",
    "INSERT INTO count (source, kind, n) SELECT %u, kind, n FROM count WHERE source = %u AND kind IN (8, 9)"
    " ON CONFLICT (source, kind) DO UPDATE SET n = max(n, excluded.n)",
    "DELETE FROM count WHERE source <> %u AND source = %u",
};

/* Likewise. What the forwarder has noted is of no use for another source. */
static const char *const note_texts[] = {
    "DELETE FROM note WHERE source <> %u AND source = %u",
    "DELETE FROM parked WHERE source <> %u AND source = %u",
};

/* What has passed through the old source, moved in and out again, is no event of the new one: else each move there and
 * back would double the counts. */
static enum database_result forget_passed(const struct move *move, int64_t passed)
{
    char text[128];
    sqlite3_snprintf(sizeof text, text, "UPDATE count SET n = n - %lld WHERE source = %u AND kind IN (6, 7)",
                     (long long)passed, (unsigned)move->from);
    return database_result_of(move->database, sqlite3_exec(move->database->db, text, NULL, NULL, NULL));
}

/* Counts events that were appended to the old source for the new one; the last id assigned tells how many they were.
 * For the old source they count as moved in and out. */
static enum database_result move_sequence(const struct move *move, int64_t gone, int64_t passed)
{
    char text[512];
    struct database *database = move->database;
    const int64_t in[] = {move->from, COUNT_MOVED_IN, gone}, out[] = {move->from, COUNT_MOVED_OUT, gone};
    sqlite3_snprintf(sizeof text, text,
                     "INSERT INTO sqlite_sequence (name, seq) SELECT 'event_%u', 0"
                     " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'event_%u');"
                     "UPDATE sqlite_sequence SET seq = seq + %lld WHERE name = 'event_%u'",
                     (unsigned)move->to, (unsigned)move->to, (long long)(gone - passed), (unsigned)move->to);
    enum database_result result = database_result_of(database, sqlite3_exec(database->db, text, NULL, NULL, NULL));
    if (result == DATABASE_DONE)
        result = database_run_with(database, STATEMENT_ADD_COUNT, 0, in, 3);
    return result == DATABASE_DONE ? database_run_with(database, STATEMENT_ADD_COUNT, 0, out, 3) : result;
}

static int64_t number_of(const struct move *move, const char *format, enum database_result *result)
{
    char text[256];
    sqlite3_stmt *one = NULL;
    int64_t number = 0;
    if (*result != DATABASE_DONE)
        return 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* constant texts below */
    sqlite3_snprintf(sizeof text, text, format, (unsigned)move->from);
#pragma GCC diagnostic pop
    *result = database_result_of(move->database, sqlite3_prepare_v2(move->database->db, text, -1, &one, NULL));
    if (*result == DATABASE_DONE && database_step(move->database, one, result) == SQLITE_ROW)
        number = sqlite3_column_int64(one, 0);
    sqlite3_finalize(one);
    return number;
}

static enum database_result execute_all(const struct move *move, const char *const *texts, size_t count)
{
    enum database_result result = DATABASE_DONE;
    for (size_t i = 0; i < count && result == DATABASE_DONE; i++)
        result = execute_move(move, texts[i], move->to, move->from);
    return result;
}

/* Moves all counts in one transaction. Events that arrived for the old source meanwhile stay and count there. */
static enum database_result move_counts(struct move *move, bool *more)
{
    enum database_result result = execute_all(move, note_texts, sizeof note_texts / sizeof *note_texts);
    *more = false;
    int64_t appended = number_of(move, "SELECT seq FROM sqlite_sequence WHERE name = 'event_%u'", &result);
    int64_t gone = appended - number_of(move, "SELECT count(*) FROM event_%u", &result);
    int64_t told = number_of(move, "SELECT count(*) FROM count WHERE source = %u AND kind NOT IN (6, 7)", &result);
    int64_t in = number_of(move, "SELECT n FROM count WHERE source = %u AND kind = 6", &result);
    int64_t out = number_of(move, "SELECT n FROM count WHERE source = %u AND kind = 7", &result);
    if (result != DATABASE_DONE || (told == 0 && in == gone && out == gone))
        return result; /* done by an earlier call */
    int64_t passed = in < out ? in : out;
    passed = passed < gone ? passed : gone;
    result = forget_passed(move, passed);
    if (result == DATABASE_DONE)
        result = execute_all(move, count_texts, sizeof count_texts / sizeof *count_texts);
    return result == DATABASE_DONE ? move_sequence(move, gone, passed) : result;
}

/* ---- all of it ---- */

static bool move_failed(const struct move *move, enum database_result result, struct error *why)
{
    if (why != NULL)
        *why = move->database->why;
    store_failed(move->store, result, &move->database->why);
    return false;
}

/* Runs the step, one transaction each, until there is no more. */
static bool repeat(struct move *move, enum database_result (*step)(struct move *, bool *), struct error *why)
{
    for (bool more = true; more;) {
        struct moved before = *move->moved;
        enum database_result result = database_begin(move->database);
        if (result != DATABASE_DONE)
            return move_failed(move, result, why);
        more = false;
        result = step(move, &more);
        result = database_end(move->database, result);
        if (result != DATABASE_DONE) {
            *move->moved = before;
            return move_failed(move, result, why);
        }
    }
    return true;
}

/* The journal first: rows merged while it is read are found in the index afterwards. */
static bool move_identities(struct move *move, struct error *why)
{
    return repeat(move, copy_journal, why) && repeat(move, move_known, why);
}

bool store_move(void *state, const char *from, const char *to, struct moved *moved, struct error *why)
{
    struct store *store = state;
    *moved = (struct moved){0};
    if (!store_reader(store, why))
        return false;
    struct move move = {.store = store,
                        .database = &store->reader,
                        .from = store_number(store, from),
                        .to = store_number(store, to),
                        .moved = moved};
    if (move.from == 0 || move.to == 0 || move.from == move.to) {
        error_set(why, move.from == move.to ? "the two sources are the same" : "the queue knows no source %.64s",
                  move.from == 0 ? from : to);
        return false;
    }
    bool good =
        move_identities(&move, why) && repeat(&move, move_events, why) && repeat(&move, move_letters, why) &&
        repeat(&move, move_counts, why) &&
        move_identities(&move, why); /* again, for identities settled meanwhile by a forwarder with the old name */
    wake_send(store->directory, &store->group.wake_fd);
    return good;
}
