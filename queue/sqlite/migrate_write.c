/* Receiving another queue, and giving back what was received: the side of migrate.c that is written. */
#include "queue/sqlite/migrate.h"

#include <string.h>

#include "queue/sqlite/store.h"

/* format: has the source's number, and ?1 is the place. */
static bool run_with(struct sqlite_side *side, const char *format, uint32_t number, int64_t place, struct error *why)
{
    sqlite3_stmt *statement = side_prepare(&side->database, format, number);
    if (statement != NULL && sqlite3_bind_parameter_count(statement) > 0)
        sqlite3_bind_int64(statement, 1, place);
    bool good = side_run(side, statement, why);
    sqlite3_finalize(statement);
    return good;
}

/* There is one mark at a time. */
bool sqlite_side_arrived(void *state, const struct migration_mark *mark, const char *source, enum cargo_part part,
                         struct cargo_place *place, struct error *why)
{
    struct sqlite_side *side = state;
    (void)mark;
    *place = (struct cargo_place){.id = 0};
    sqlite3_stmt *find = side_prepare(&side->database, "SELECT id, key FROM migrated WHERE source = %u AND part = ?1",
                                      side_number(side, source));
    if (find == NULL)
        return side_failed(side, why);
    sqlite3_bind_int(find, 1, (int)part);
    if (sqlite3_step(find) == SQLITE_ROW) {
        place->id = sqlite3_column_int64(find, 0);
        if (sqlite3_column_bytes(find, 1) == sizeof place->key)
            memcpy(place->key, sqlite3_column_blob(find, 1), sizeof place->key);
    }
    sqlite3_finalize(find);
    return true;
}

#define KNOWS                                                                                                          \
    "INSERT INTO known (source, key, updated, at) VALUES (%u, ?9, ?7, ?6) ON CONFLICT (source, key) DO UPDATE SET"     \
    " updated = max(updated, excluded.updated), at = max(at, excluded.at)"

static const char *const writes[CARGO_PARTS] = {
    [CARGO_KNOWN] = KNOWS,
    [CARGO_LATEST] = KNOWS,
    [CARGO_LETTERS] = "INSERT INTO letter (id, source, key, updated, received, died, replayed, reason, body)"
                      " VALUES (?1, %u, ?9, iif(?9 IS NULL, NULL, ?7), ?3, ?4, nullif(?5, 0), ?10, ?11)",
    [CARGO_EVENTS] = "INSERT INTO event_%u (received, letter, body) VALUES (?3, nullif(?8, 0), ?11)",
    [CARGO_COUNTS] = "INSERT INTO count (source, kind, n) VALUES (%u, ?1, ?2) ON CONFLICT (source, kind) DO UPDATE SET"
                     " n = CASE WHEN kind IN (" CARGO_KIND_IS_TIME ") THEN max(n, excluded.n) ELSE n + excluded.n END",
};

static void bind_row(sqlite3_stmt *write, const struct cargo_row *row, int64_t letters)
{
    const int64_t numbers[] = {row->id,       row->n,  row->received, row->died,
                               row->replayed, row->at, row->updated,  row->letter == 0 ? 0 : row->letter + letters};
    for (int i = 0; i < 8; i++)
        sqlite3_bind_int64(write, i + 1, numbers[i]);
    if (row->has_key)
        sqlite3_bind_blob(write, 9, row->key, sizeof row->key, SQLITE_STATIC);
    else
        sqlite3_bind_null(write, 9);
    sqlite3_bind_text(write, 10, row->reason, -1, SQLITE_STATIC);
    sqlite3_bind_blob64(write, 11, row->length == 0 ? "" : row->body, row->length, SQLITE_STATIC);
}

static bool write_rows(struct sqlite_side *side, uint32_t number, enum cargo_part part, const struct cargo *cargo,
                       int64_t letters, struct error *why)
{
    sqlite3_stmt *write = side_prepare(&side->database, writes[part], number);
    bool good = write != NULL || side_failed(side, why);
    for (size_t i = 0; i < cargo->count && good; i++) {
        struct cargo_row row = cargo->at[i];
        if (part == CARGO_LETTERS)
            row.id += letters;
        bind_row(write, &row, letters);
        good = side_run(side, write, why);
    }
    sqlite3_finalize(write);
    return good;
}

/* Each id that was given counts as an event that came: those that were settled elsewhere get some, too. */
static bool raise_sequence(struct sqlite_side *side, uint32_t number, const struct cargo *cargo, struct error *why)
{
    char text[400];
    int64_t settled = 0;
    for (size_t i = 0; i < cargo->count; i++) {
        int64_t kind = cargo->at[i].id;
        settled += kind <= COUNT_DEAD || kind == COUNT_LOST ? cargo->at[i].n : 0;
    }
    sqlite3_snprintf(sizeof text, text,
                     "INSERT INTO sqlite_sequence (name, seq) SELECT 'event_%u', 0"
                     " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'event_%u');"
                     "UPDATE sqlite_sequence SET seq = seq + %lld WHERE name = 'event_%u'",
                     (unsigned)number, (unsigned)number, (long long)settled, (unsigned)number);
    return side_execute(side, text, why);
}

static bool put_place(struct sqlite_side *side, uint32_t number, enum cargo_part part, const struct cargo_place *place,
                      struct error *why)
{
    sqlite3_stmt *put =
        side_prepare(&side->database, "REPLACE INTO migrated (source, part, id, key) VALUES (%u, ?1, ?2, ?3)", number);
    if (put != NULL) {
        sqlite3_bind_int(put, 1, (int)part);
        sqlite3_bind_int64(put, 2, place->id);
        sqlite3_bind_blob(put, 3, place->key, sizeof place->key, SQLITE_STATIC);
    }
    bool good = side_run(side, put, why);
    sqlite3_finalize(put);
    return good;
}

/* What each count was raised by, so that it can be taken back when the other side is not what it was. */
#define COUNT_PARTS 100
static bool note_counts(struct sqlite_side *side, uint32_t number, const struct cargo *cargo, struct error *why)
{
    bool good = true;
    for (size_t i = 0; i < cargo->count && good; i++) {
        struct cargo_place raised = {.id = cargo->at[i].n};
        good = put_place(side, number, (enum cargo_part)(COUNT_PARTS + cargo->at[i].id), &raised, why);
    }
    return good;
}

static bool add_source(struct sqlite_side *side, const char *source, uint32_t *number, struct error *why)
{
    sqlite3_stmt *add = side_prepare(&side->database, "INSERT INTO source (name) VALUES (?1)", 0);
    if (add != NULL)
        sqlite3_bind_text(add, 1, source, -1, SQLITE_STATIC);
    bool good = side_run(side, add, why);
    sqlite3_finalize(add);
    *number = side_number(side, source);
    return good && (schema_make_events(&side->database, *number) == DATABASE_DONE || side_failed(side, why));
}

/* COUNT_MOVES: a Bloom filter of before does not know these identities. */
static bool note_move(struct sqlite_side *side, struct error *why)
{
    return side_execute(side,
                        "INSERT INTO count (source, kind, n) VALUES (0, 20, 1) ON CONFLICT (source, kind) DO UPDATE"
                        " SET n = n + 1",
                        why);
}

_Static_assert(COUNT_PARTS == 100 && COUNT_MOVES == 20 && COUNT_LAST_DELIVERED == 8 && COUNT_LAST_ACCEPTED == 9 &&
                   COUNT_DEAD == 4 && COUNT_LOST == 10 && COUNT_ENDED == 12,
               "the statements above and CARGO_KINDS have these numbers");

bool sqlite_side_write(void *state, const struct migration_mark *mark, const char *source, enum cargo_part part,
                       const struct cargo *cargo, const struct cargo_place *place, struct error *why)
{
    struct sqlite_side *side = state;
    uint32_t number = side_number(side, source);
    bool good = side_begin(side, why);
    if (good && number == 0)
        good = add_source(side, source, &number, why);
    good = good && write_rows(side, number, part, cargo, mark->letters, why);
    if (part == CARGO_COUNTS)
        good = good && raise_sequence(side, number, cargo, why) && note_counts(side, number, cargo, why);
    if (part == CARGO_KNOWN || part == CARGO_LATEST)
        good = good && note_move(side, why);
    return side_end(side, good && put_place(side, number, part, place, why), why);
}

/* ---- giving it up ---- */

static bool lower_counts(struct sqlite_side *side, uint32_t number, struct error *why)
{
    char text[1000];
    sqlite3_snprintf(sizeof text, text,
                     "UPDATE sqlite_sequence SET seq = seq - (SELECT coalesce(sum(id), 0) FROM migrated"
                     " WHERE source = %u AND part IN (101, 102, 103, 104, 110)) WHERE name = 'event_%u';"
                     "UPDATE count SET n = n - (SELECT id FROM migrated m WHERE m.source = %u AND m.part = 100 + kind)"
                     " WHERE source = %u AND kind NOT IN (" CARGO_KIND_IS_TIME
                     ") AND EXISTS (SELECT 1 FROM migrated m WHERE m.source = %u AND m.part = 100 + kind);"
                     "DELETE FROM migrated WHERE source = %u AND part > 100",
                     (unsigned)number, (unsigned)number, (unsigned)number, (unsigned)number, (unsigned)number,
                     (unsigned)number);
    return side_execute(side, text, why);
}

/* Nobody has appended behind it: the queue is closed. */
bool sqlite_side_take_back(void *state, const struct migration_mark *mark, const char *source, enum cargo_part part,
                           int64_t count, struct error *why)
{
    char text[400];
    struct sqlite_side *side = state;
    uint32_t number = side_number(side, source);
    const struct cargo_place none = {.id = 0};
    if (part == CARGO_LETTERS)
        sqlite3_snprintf(sizeof text, text, "DELETE FROM letter WHERE source = %u AND id > %lld", (unsigned)number,
                         (long long)mark->letters);
    else
        sqlite3_snprintf(sizeof text, text,
                         "DELETE FROM event_%u WHERE id IN (SELECT id FROM event_%u ORDER BY id DESC LIMIT %lld);"
                         "UPDATE sqlite_sequence SET seq = seq - %lld WHERE name = 'event_%u'",
                         (unsigned)number, (unsigned)number, (long long)count, (long long)count, (unsigned)number);
    bool good = side_begin(side, why);
    if (part == CARGO_COUNTS)
        good = good && (number == 0 || lower_counts(side, number, why));
    else
        good = good && (number == 0 || side_execute(side, text, why));
    return side_end(side, good && put_place(side, number, part, &none, why), why);
}

/* ---- opening it as it is ---- */

/* Sources whose dead letters have arrived, and whose counts have not. */
#define ALONE                                                                                                          \
    "(SELECT source FROM migrated WHERE part = 3 AND id <> 0 EXCEPT SELECT source FROM migrated WHERE part = 5"        \
    " AND id <> 0)"

_Static_assert(CARGO_LETTERS == 3 && CARGO_COUNTS == 5, "the statement above has these numbers");

/* %u: the source's number, ?1: the number beyond which dead letters are those that have arrived. Each is an event that
 * came and died; those whose events have arrived, too, were replayed, and others are to be replayed again. */
static const char *const died_alone[] = {
    "UPDATE letter SET replayed = NULL WHERE source = %u AND id > ?1 AND id NOT IN"
    " (SELECT letter FROM event_%u WHERE letter IS NOT NULL)",
    "UPDATE sqlite_sequence SET seq = seq + (SELECT count(*) FROM letter WHERE source = %u AND id > ?1)"
    " WHERE name = 'event_%u'",
    "INSERT INTO sqlite_sequence (name, seq) SELECT 'event_' || source, count(*) FROM letter WHERE source = %u"
    " AND id > ?1 AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'event_%u') GROUP BY source",
    "INSERT INTO count (source, kind, n) SELECT source, 4, count(*) FROM letter WHERE source = %u AND id > ?1"
    " GROUP BY source ON CONFLICT (source, kind) DO UPDATE SET n = n + excluded.n",
    "INSERT INTO count (source, kind, n) SELECT source, 5, count(*) FROM letter WHERE source = %u AND id > ?1"
    " AND replayed IS NOT NULL GROUP BY source ON CONFLICT (source, kind) DO UPDATE SET n = n + excluded.n",
    NULL};

bool sqlite_side_count_died(struct sqlite_side *side, int64_t letters, struct error *why)
{
    uint32_t number = 0;
    bool good = true;
    do {
        sqlite3_stmt *next =
            side_prepare(&side->database, "SELECT min(source) FROM " ALONE " WHERE source > %u", number);
        if (next == NULL)
            return side_failed(side, why);
        number = sqlite3_step(next) == SQLITE_ROW ? (uint32_t)sqlite3_column_int64(next, 0) : 0;
        sqlite3_finalize(next);
        for (const char *const *text = died_alone; number != 0 && *text != NULL && good; text++)
            good = run_with(side, *text, number, letters, why);
    } while (number != 0 && good);
    return good;
}

/* ---- letting go of what stays where it arrived ---- */

/* What is gone counts as moved in and out, as for queue_move: it is counted where it is now. %u: the source's number,
 * ?1: the place. */
#define COUNT_AS_GONE(rows)                                                                                            \
    "INSERT INTO count (source, kind, n) SELECT %u, kind, n FROM (SELECT count(*) AS n FROM " rows                     \
    "), (SELECT 6 AS kind UNION ALL SELECT 7) WHERE true ON CONFLICT (source, kind) DO UPDATE SET n = n + excluded.n"
#define COUNT_LESS(kinds, rows)                                                                                        \
    "UPDATE count SET n = n - (SELECT count(*) FROM " rows ") WHERE source = %u AND kind IN (" kinds ")"
#define LETTERS "letter WHERE source = %u AND id <= ?1 AND replayed IS NULL" /* others stay with their events */
#define EVENTS "event_%u WHERE id <= ?1"
#define REPLAYED "letter WHERE id IN (SELECT letter FROM event_%u WHERE id <= ?1)"

static const char *const letters_gone[] = {COUNT_AS_GONE(LETTERS), COUNT_LESS("4", LETTERS), "DELETE FROM " LETTERS,
                                           NULL};
static const char *const events_gone[] = {COUNT_AS_GONE(EVENTS),        COUNT_AS_GONE(REPLAYED),
                                          COUNT_LESS("4, 5", REPLAYED), "DELETE FROM " REPLAYED,
                                          "DELETE FROM " EVENTS,        NULL};

/* Counts are the last to arrive: nothing else is left. */
static const char *const counts_gone[] = {
    "UPDATE count SET n = 0 WHERE source = %u AND kind IN (" CARGO_KINDS ") AND kind NOT IN (" CARGO_KIND_IS_TIME ")",
    "INSERT INTO count (source, kind, n) SELECT %u, kind, seq FROM sqlite_sequence,"
    " (SELECT 6 AS kind UNION ALL SELECT 7) WHERE name = 'event_%u'"
    " ON CONFLICT (source, kind) DO UPDATE SET n = excluded.n",
    NULL};

_Static_assert(COUNT_DEAD == 4 && COUNT_REPLAYS == 5 && COUNT_MOVED_IN == 6 && COUNT_MOVED_OUT == 7,
               "the statements above have these numbers");

bool sqlite_side_let_go(void *state, const char *source, enum cargo_part part, const struct cargo_place *place,
                        struct error *why)
{
    struct sqlite_side *side = state;
    uint32_t number = side_number(side, source);
    const char *const *formats = part == CARGO_LETTERS  ? letters_gone
                                 : part == CARGO_EVENTS ? events_gone
                                                        : counts_gone;
    bool good = number == 0 || side_begin(side, why);
    for (; number != 0 && *formats != NULL && good; formats++)
        good = run_with(side, *formats, number, place->id, why);
    return number == 0 || side_end(side, good, why);
}
