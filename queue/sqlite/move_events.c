/* The waiting events of a source go to another, whose own may be newer: see move_events.h.
 *
 * Events go out in the order of their ids, and who forwards never looks back at lower ids. So the two sources are
 * merged by appending: the old source's events, and between them, with new ids, those of the new source that were
 * received later. A table then has, in the order of ids: events that stay where they are; events still to be merged;
 * merged ones; and what was accepted since. The three limits between these are kept in the table `count`, so that a
 * move that was killed goes on where it stopped. Each step ends by appending what was accepted since its predecessor
 * behind the merged ones.
 *
 * Who forwards may hold events that get new ids. They end under their old ids, which changes nothing but that they are
 * known to be delivered, and as duplicates under the new ones (settle.c, join_twin of forward/intake.c). */
#include "queue/sqlite/move_events.h"

#include "queue/sqlite/store.h"

#define EVENTS_AT_ONCE 500
#define ACCEPTED_MOST 5000
#define BYTES_AT_ONCE ((int64_t)8 * 1024 * 1024) /* of bodies: the log grows by as much */

struct limits {
    int64_t before; /* ids up to this one stay */
    int64_t behind; /* up to this one: still to be merged */
    int64_t end;    /* up to this one: merged; 0: no move has begun */
};

/* The first event of a source that is still to be merged. */
struct head {
    int64_t id; /* 0: none */
    int64_t received, bytes;
};

struct merging {
    struct database *database;
    uint32_t from, to;
    struct limits limits;
    sqlite3_stmt *copy_old, *copy_own;
    int64_t old, own;    /* events that this step has merged */
    int64_t first, last; /* the ids that it gave */
};

static enum database_result set_count(const struct merging *m, uint32_t source, enum statement how,
                                      enum count_kind kind, int64_t n)
{
    sqlite3_stmt *set = database_statement(m->database, how, 0);
    if (set != NULL) {
        sqlite3_bind_int64(set, 1, source);
        sqlite3_bind_int64(set, 2, kind);
        sqlite3_bind_int64(set, 3, n);
    }
    return database_run(m->database, set);
}

/* A number that a statement finds; 0 without one. */
static int64_t find(const struct merging *m, sqlite3_stmt *one, enum database_result *result)
{
    int64_t number = 0;
    if (*result != DATABASE_DONE)
        return 0;
    if (database_step(m->database, one, result) == SQLITE_ROW)
        number = sqlite3_column_int64(one, 0);
    if (*result == DATABASE_DONE)
        sqlite3_reset(one);
    return number;
}

static enum database_result find_head(const struct merging *m, uint32_t source, int64_t after, int64_t up_to,
                                      struct head *head)
{
    enum database_result result;
    sqlite3_stmt *first = database_statement(m->database, STATEMENT_MOVE_FIRST, source);
    *head = (struct head){0};
    if (first != NULL) {
        sqlite3_bind_int64(first, 1, after);
        sqlite3_bind_int64(first, 2, up_to);
    }
    if (database_step(m->database, first, &result) == SQLITE_ROW)
        *head = (struct head){.id = sqlite3_column_int64(first, 0),
                              .received = sqlite3_column_int64(first, 1),
                              .bytes = sqlite3_column_int64(first, 2)};
    if (result == DATABASE_DONE)
        sqlite3_reset(first);
    return result;
}

/* ---- the limits ---- */

static enum database_result read_limits(struct merging *m)
{
    enum database_result result;
    sqlite3_stmt *counts = database_statement(m->database, STATEMENT_COUNTS, 0);
    if (counts != NULL)
        sqlite3_bind_int64(counts, 1, m->to);
    while (database_step(m->database, counts, &result) == SQLITE_ROW) {
        int64_t kind = sqlite3_column_int64(counts, 0), n = sqlite3_column_int64(counts, 1);
        if (kind == COUNT_MOVE_BEFORE)
            m->limits.before = n;
        if (kind == COUNT_MOVE_BEHIND)
            m->limits.behind = n;
        if (kind == COUNT_MOVE_END)
            m->limits.end = n;
    }
    if (result == DATABASE_DONE)
        sqlite3_reset(counts);
    return result;
}

static enum database_result forget_limits(const struct merging *m)
{
    char text[120];
    sqlite3_snprintf(sizeof text, text, "DELETE FROM count WHERE source = %u AND kind IN (%d, %d, %d)", (unsigned)m->to,
                     COUNT_MOVE_BEFORE, COUNT_MOVE_BEHIND, COUNT_MOVE_END);
    return database_result_of(m->database, sqlite3_exec(m->database->db, text, NULL, NULL, NULL));
}

static enum database_result note_limits(const struct merging *m)
{
    enum database_result result = forget_limits(m);
    if (result == DATABASE_DONE)
        result = set_count(m, m->to, STATEMENT_SET_COUNT, COUNT_MOVE_BEFORE, m->limits.before);
    if (result == DATABASE_DONE)
        result = set_count(m, m->to, STATEMENT_SET_COUNT, COUNT_MOVE_BEHIND, m->limits.behind);
    return result == DATABASE_DONE ? set_count(m, m->to, STATEMENT_SET_COUNT, COUNT_MOVE_END, m->limits.end) : result;
}

/* The newest event has been the last one until now, which says when something was accepted last. */
static enum database_result keep_last_accepted(const struct merging *m)
{
    enum database_result result = DATABASE_DONE;
    int64_t own = find(m, database_statement(m->database, STATEMENT_NEWEST, m->to), &result);
    int64_t old = find(m, database_statement(m->database, STATEMENT_NEWEST, m->from), &result);
    if (result == DATABASE_DONE && (own > 0 || old > 0))
        result = set_count(m, m->to, STATEMENT_SET_COUNT, COUNT_LAST_ACCEPTED, own > old ? own : old);
    return result;
}

/* oldest: of the old source's. What waits before the first event that is newer than that stays. */
static enum database_result begin(struct merging *m, const struct head *oldest)
{
    enum database_result result = keep_last_accepted(m);
    sqlite3_stmt *sequence = database_statement(m->database, STATEMENT_SEQUENCE, 0);
    if (sequence != NULL)
        sqlite3_bind_int64(sequence, 1, m->to);
    m->limits.end = find(m, sequence, &result);
    sqlite3_stmt *newer = database_statement(m->database, STATEMENT_MOVE_BEFORE, m->to);
    if (newer != NULL)
        sqlite3_bind_int64(newer, 1, oldest->received);
    if (result == DATABASE_DONE && database_step(m->database, newer, &result) == SQLITE_ROW) {
        bool found = sqlite3_column_type(newer, 0) != SQLITE_NULL;
        m->limits.before = found ? sqlite3_column_int64(newer, 0) : m->limits.end;
        sqlite3_reset(newer);
    }
    m->limits.behind = m->limits.end;
    return result;
}

/* ---- merging ---- */

/* Prepares the copying of one event into the new source's table. Returns NULL, with the reason, when it cannot. */
static sqlite3_stmt *prepare_copy(const struct merging *m, uint32_t source, enum database_result *result)
{
    char text[160];
    sqlite3_stmt *copy = NULL;
    sqlite3_snprintf(sizeof text, text,
                     "INSERT INTO event_%u (received, letter, body) SELECT received, letter, body FROM event_%u"
                     " WHERE id = ?1",
                     (unsigned)m->to, (unsigned)source);
    if (*result == DATABASE_DONE)
        *result = database_result_of(m->database, sqlite3_prepare_v2(m->database->db, text, -1, &copy, NULL));
    return copy;
}

static enum database_result remove_events(const struct merging *m, uint32_t source, int64_t first, int64_t last)
{
    sqlite3_stmt *away = database_statement(m->database, STATEMENT_DELETE, source);
    if (away != NULL) {
        sqlite3_bind_int64(away, 1, first);
        sqlite3_bind_int64(away, 2, last);
    }
    return database_run(m->database, away);
}

static enum database_result append_one(struct merging *m, bool is_old, int64_t id)
{
    sqlite3_stmt *copy = is_old ? m->copy_old : m->copy_own;
    sqlite3_bind_int64(copy, 1, id);
    enum database_result result = database_run(m->database, copy);
    if (result != DATABASE_DONE)
        return result;
    m->last = sqlite3_last_insert_rowid(m->database->db);
    if (m->first == 0)
        m->first = m->last;
    m->old += is_old ? 1 : 0;
    m->own += is_old ? 0 : 1;
    return remove_events(m, is_old ? m->from : m->to, id, id);
}

/* *more: there may be more than a step's worth. */
static enum database_result append_merged(struct merging *m, bool *more)
{
    int64_t bytes = 0;
    for (int i = 0; i < EVENTS_AT_ONCE && bytes < BYTES_AT_ONCE; i++) {
        struct head old, own = {0};
        enum database_result result = find_head(m, m->from, 0, INT64_MAX, &old);
        if (result == DATABASE_DONE)
            result = find_head(m, m->to, m->limits.before, m->limits.behind, &own);
        *more = old.id != 0 || own.id != 0;
        if (result != DATABASE_DONE || !*more)
            return result;
        bool is_old = own.id == 0 || (old.id != 0 && old.received <= own.received);
        bytes += is_old ? old.bytes : own.bytes;
        result = append_one(m, is_old, is_old ? old.id : own.id);
        if (result != DATABASE_DONE)
            return result;
    }
    return DATABASE_DONE;
}

/* What was accepted between the step before and this one, which has given higher ids to older events. Where a move goes
 * on long after it was killed that may be too much for one transaction: then it keeps its place. */
static enum database_result append_accepted_since(struct merging *m)
{
    char text[200];
    if (m->first == 0 || m->first == m->limits.end + 1 || m->first - m->limits.end > ACCEPTED_MOST)
        return DATABASE_DONE;
    sqlite3_snprintf(sizeof text, text,
                     "INSERT INTO event_%u (received, letter, body) SELECT received, letter, body FROM event_%u"
                     " WHERE id > %lld AND id < %lld ORDER BY id",
                     (unsigned)m->to, (unsigned)m->to, (long long)m->limits.end, (long long)m->first);
    enum database_result result =
        database_result_of(m->database, sqlite3_exec(m->database->db, text, NULL, NULL, NULL));
    if (result != DATABASE_DONE)
        return result;
    m->own += sqlite3_changes(m->database->db);
    return remove_events(m, m->to, m->limits.end + 1, m->first - 1);
}

/* Each id that was given counts as an event that came; what has changed its place came and went. */
static enum database_result count_events(const struct merging *m)
{
    enum database_result result = DATABASE_DONE;
    if (m->old + m->own > 0)
        result = set_count(m, m->to, STATEMENT_ADD_COUNT, COUNT_MOVED_IN, m->old + m->own);
    if (result == DATABASE_DONE && m->own > 0)
        result = set_count(m, m->to, STATEMENT_ADD_COUNT, COUNT_MOVED_OUT, m->own);
    if (result == DATABASE_DONE && m->old > 0)
        result = set_count(m, m->from, STATEMENT_ADD_COUNT, COUNT_MOVED_OUT, m->old);
    return result;
}

static enum database_result merge(struct merging *m, bool *more)
{
    enum database_result result = DATABASE_DONE;
    m->copy_old = prepare_copy(m, m->from, &result);
    m->copy_own = prepare_copy(m, m->to, &result);
    if (result == DATABASE_DONE)
        result = append_merged(m, more);
    if (result == DATABASE_DONE)
        result = append_accepted_since(m);
    sqlite3_finalize(m->copy_old);
    sqlite3_finalize(m->copy_own);
    if (m->last > 0)
        m->limits.end = m->last;
    if (result == DATABASE_DONE)
        result = count_events(m);
    if (result == DATABASE_DONE)
        result = *more ? note_limits(m) : forget_limits(m);
    return result;
}

enum database_result move_events(struct database *database, uint32_t from, uint32_t to, uint64_t *moved, bool *more)
{
    struct head oldest;
    struct merging m = {.database = database, .from = from, .to = to};
    *more = false;
    enum database_result result = find_head(&m, from, 0, INT64_MAX, &oldest);
    if (result == DATABASE_DONE)
        result = read_limits(&m);
    if (result != DATABASE_DONE || (oldest.id == 0 && m.limits.end == 0))
        return result;
    if (m.limits.end == 0)
        result = begin(&m, &oldest);
    if (result == DATABASE_DONE)
        result = merge(&m, more);
    *moved = (uint64_t)m.old;
    return result;
}
