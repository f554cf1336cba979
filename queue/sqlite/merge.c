/* Merging one queue database into another: see recovery.h. In SQL, with the saved database attached as `saved`. */
#include "queue/sqlite/recovery.h"

#include "base/log.h"
#include "queue/sqlite/files.h"
#include "queue/sqlite/store.h"

/* ---- Counts of merged databases: see recovery.h. The table `origin` has what of the queue's counts came from which
 * database, by the id that each has (COUNT_DATABASE); what is left is its own. The same database may be merged again
 * and again, each time by a later copy, or by way of another one into which it was merged before: of each origin the
 * larger number counts, so nothing counts twice. ---- */

/* Kinds that only `origin` has, besides those of `count`. */
#define ACCEPTED "0"
#define LAST_EVENT "100"  /* the last id of an event */
#define LAST_LETTER "101" /* the last id of a dead letter, under source 0 */

/* Those of enum count_kind that are added up. COUNT_MOVED_IN is what the others leave: merge_counts_close. */
#define ADDED "(1, 2, 3, 4, 5, 7, 10, 12)"
_Static_assert(COUNT_DELIVERED == 1 && COUNT_DEAD == 4 && COUNT_REPLAYS == 5 && COUNT_MOVED_IN == 6 &&
                   COUNT_MOVED_OUT == 7 && COUNT_LOST == 10 && COUNT_ENDED == 12 && COUNT_DATABASE == 14,
               "the statements have these numbers");

#define SEQUENCE(SCHEMA, TABLE) "coalesce((SELECT seq FROM " SCHEMA ".sqlite_sequence WHERE name = " TABLE "), 0)"

#define ID(SCHEMA) "coalesce((SELECT n FROM " SCHEMA ".count WHERE source = 0 AND kind = 14), 0)"

/* All counts of a database, and its last ids: what it counts itself and what it has of others. */
#define TOTALS(SCHEMA)                                                                                                 \
    "SELECT source, kind, n FROM " SCHEMA ".count WHERE source > 0 AND kind IN " ADDED                                 \
    " UNION ALL SELECT number, " ACCEPTED                                                                              \
    ", " SEQUENCE(SCHEMA, "'event_' || number") " - coalesce((SELECT sum(n) FROM " SCHEMA                              \
                                                ".count c WHERE c.source = number AND c.kind IN (5, 6)), 0)"           \
                                                " FROM " SCHEMA ".source"                                              \
                                                " UNION ALL SELECT number, " LAST_EVENT ", " SEQUENCE(                 \
                                                    SCHEMA, "'event_' || number") " FROM " SCHEMA ".source"            \
                                                                                  " UNION ALL SELECT 0, " LAST_LETTER  \
                                                                                  ", " SEQUENCE(SCHEMA, "'letter'")

/* What it counts itself, under its id. OF: what it has of others. Last ids are its own. */
#define OWN(SCHEMA, OF)                                                                                                \
    "SELECT " ID(SCHEMA) " AS id, t.source, t.kind, t.n - CASE WHEN t.kind >= 100 THEN 0 ELSE"                         \
                         " coalesce((SELECT sum(o.n) FROM " OF                                                         \
                         " o WHERE o.source = t.source AND o.kind = t.kind), 0) END AS n"                              \
                         " FROM (" TOTALS(SCHEMA) ") t"

static const char prepare[] =
    "CREATE TABLE IF NOT EXISTS main.origin (id INTEGER NOT NULL, source INTEGER NOT NULL, kind INTEGER NOT NULL,"
    " n INTEGER NOT NULL, PRIMARY KEY (id, source, kind)) WITHOUT ROWID;"
    "INSERT OR IGNORE INTO main.count (source, kind, n) SELECT 0, 14, random() & 9223372036854775807;"
    "CREATE TEMP TABLE saved_origin (id INTEGER, source INTEGER, kind INTEGER, n INTEGER);"
    "CREATE TEMP TABLE closing (waiting INTEGER, ended INTEGER, replayed INTEGER, accepted INTEGER)";

/* There is none in a database into which nothing was merged. */
static const char read_saved_origin[] = "INSERT INTO temp.saved_origin SELECT id, source, kind, n FROM saved.origin";

/* Without an id, as the version before makes it, a database is one that was never merged. */
static const char compare[] =
    "CREATE TEMP TABLE origin_here AS SELECT id, source, kind, n FROM main.origin UNION ALL " OWN(
        "main",
        "main.origin") ";"
                       "CREATE TEMP TABLE origin_there AS SELECT CASE t.id WHEN 0 THEN (SELECT random()) ELSE t.id END "
                       "AS id,"
                       " t.id = " ID(
                           "saved") " AS own, t.source AS old, m.new AS source, t.kind, t.n"
                                    " FROM (SELECT id, source, kind, n FROM temp.saved_origin UNION ALL " OWN(
                                        "saved",
                                        "temp.saved_origin") ") t"
                                                             " JOIN (SELECT old, new FROM temp.source_map UNION ALL "
                                                             "SELECT 0, 0) m ON m.old = t.source;"
                                                             "CREATE TEMP TABLE added AS SELECT t.source, t.kind, "
                                                             "sum(t.n - coalesce(h.n, 0)) AS n FROM temp.origin_there t"
                                                             " LEFT JOIN temp.origin_here h ON h.id = t.id AND "
                                                             "h.source = t.source AND h.kind = t.kind"
                                                             " WHERE t.n > coalesce(h.n, 0) AND t.kind < 100 GROUP BY "
                                                             "t.source, t.kind;"
                                                             "CREATE TEMP TABLE merged_up_to AS SELECT t.old AS "
                                                             "source, h.n AS n FROM temp.origin_there t"
                                                             " JOIN temp.origin_here h ON h.id = t.id AND h.source = "
                                                             "t.source AND h.kind = t.kind"
                                                             " WHERE t.own AND t.kind >= 100 AND t.id <> " ID("main");

static enum database_result run_counts(struct database *database, const char *text)
{
    return database_result_of(database, sqlite3_exec(database->db, text, NULL, NULL, NULL));
}

static bool has_origin(struct database *database, enum database_result *result)
{
    sqlite3_stmt *find = NULL;
    int code =
        sqlite3_prepare_v2(database->db, "SELECT 1 FROM saved.sqlite_master WHERE name = 'origin'", -1, &find, NULL);
    *result = database_result_of(database, code);
    bool has = *result == DATABASE_DONE && database_step(database, find, result) == SQLITE_ROW;
    sqlite3_finalize(find);
    return has;
}

enum database_result merge_counts_begin(struct database *database)
{
    enum database_result result = run_counts(database, prepare);
    if (result == DATABASE_DONE && has_origin(database, &result))
        result = run_counts(database, read_saved_origin);
    return result == DATABASE_DONE ? run_counts(database, compare) : result;
}

/* Times, and that the source had a signature key: of these the larger number counts, too. */
enum database_result merge_counts_add(struct database *database)
{
    char text[1024];
    sqlite3_snprintf(
        sizeof text, text,
        "INSERT INTO main.count (source, kind, n) SELECT source, kind, n FROM temp.added WHERE kind > " ACCEPTED
        " ON CONFLICT (source, kind) DO UPDATE SET n = n + excluded.n;"
        "INSERT INTO main.origin (id, source, kind, n) SELECT id, source, kind, n FROM temp.origin_there"
        " WHERE id <> " ID(
            "main") " ON CONFLICT (id, source, kind) DO UPDATE SET n = max(n, excluded.n);"
                    "INSERT INTO main.count (source, kind, n) SELECT m.new, c.kind, c.n FROM saved.count c"
                    " JOIN temp.source_map m ON m.old = c.source WHERE c.kind IN (%d, %d, %d)"
                    " ON CONFLICT (source, kind) DO UPDATE SET n = max(n, excluded.n)",
        COUNT_LAST_DELIVERED, COUNT_LAST_ACCEPTED, COUNT_SIGNED);
    return run_counts(database, text);
}

/* Those that were appended are those that were settled, moved away or lost, and those that wait; and none of them is
 * accepted but those that were. */
enum database_result merge_counts_close(struct database *database, unsigned source)
{
    char text[2048];
    sqlite3_snprintf(sizeof text, text,
                     "DELETE FROM temp.closing;"
                     "INSERT INTO temp.closing (waiting, ended, replayed, accepted) SELECT"
                     " (SELECT count(*) FROM main.event_%u),"
                     " coalesce((SELECT sum(n) FROM main.count WHERE source = %u AND kind IN (1, 2, 3, 4, 7, 10)), 0),"
                     " coalesce((SELECT sum(n) FROM main.count WHERE source = %u AND kind = 5), 0),"
                     " coalesce((SELECT sum(n) FROM temp.origin_here WHERE source = %u AND kind = " ACCEPTED "), 0)"
                     " + coalesce((SELECT sum(n) FROM temp.added WHERE source = %u AND kind = " ACCEPTED "), 0);"
                     "INSERT INTO main.sqlite_sequence (name, seq) SELECT 'event_%u', 0"
                     " WHERE NOT EXISTS (SELECT 1 FROM main.sqlite_sequence WHERE name = 'event_%u');"
                     "UPDATE main.sqlite_sequence SET seq = (SELECT max(seq, ended + waiting, accepted + replayed)"
                     " FROM temp.closing) WHERE name = 'event_%u';",
                     source, source, source, source, source, source, source, source);
    enum database_result result = run_counts(database, text);
    sqlite3_snprintf(
        sizeof text, text,
        "INSERT INTO main.count (source, kind, n) SELECT %u, 6, max(0, " SEQUENCE(
            "main", "'event_%u'") " - replayed - accepted) FROM temp.closing WHERE true"
                                  " ON CONFLICT (source, kind) DO UPDATE SET n = excluded.n;"
                                  "INSERT INTO main.count (source, kind, n) SELECT %u, 10, " SEQUENCE(
                                      "main",
                                      "'event_%u'") " - ended - waiting FROM temp.closing WHERE true"
                                                    " ON CONFLICT (source, kind) DO UPDATE SET n = n + excluded.n",
        source, source, source, source);
    return result == DATABASE_DONE ? run_counts(database, text) : result;
}

/* ---- merging ---- */

/* Maps of numbers: those of sources and dead letters differ between the two databases. */
static const char prepare_maps[] = "CREATE TEMP TABLE source_map (old INTEGER PRIMARY KEY, new INTEGER NOT NULL);"
                                   "CREATE TEMP TABLE letter_map (old INTEGER PRIMARY KEY, new INTEGER NOT NULL)";

#define IDENTITIES(TABLE)                                                                                              \
    "INSERT INTO main.known (source, key, updated, at)"                                                                \
    " SELECT m.new, k.key, k.updated, k.at FROM saved." TABLE " k JOIN temp.source_map m ON m.old = k.source"          \
    " WHERE true ON CONFLICT (source, key) DO UPDATE"                                                                  \
    " SET updated = max(updated, excluded.updated), at = max(at, excluded.at)"

/* The tables that all sources share. */
static const char *const common[] = {
    IDENTITIES("known"),
    IDENTITIES("journal"),
    /* COUNT_MOVES: no Bloom filter has them, also none of a database that is the same but for this */
    "INSERT INTO main.count (source, kind, n) SELECT 0, 20, 1 + abs(random() % 1000000000)"
    " WHERE true ON CONFLICT (source, kind) DO UPDATE SET n = n + excluded.n",
    /* the same letter in both, one being an earlier copy */
    "INSERT INTO temp.letter_map SELECT l.id, t.id FROM saved.letter l JOIN temp.source_map m ON m.old = l.source"
    " JOIN main.letter t ON t.id = l.id AND t.source = m.new AND t.received = l.received AND t.body = l.body",
    "INSERT INTO temp.letter_map SELECT l.id, row_number() OVER (ORDER BY l.id) + max("
    "coalesce((SELECT max(id) FROM main.letter), 0),"
    " coalesce((SELECT seq FROM main.sqlite_sequence WHERE name = 'letter'), 0))"
    " FROM saved.letter l WHERE l.id NOT IN (SELECT old FROM temp.letter_map)"
    " AND l.id > coalesce((SELECT n FROM temp.merged_up_to WHERE source = 0), 0)",
    "INSERT INTO main.letter (id, source, key, updated, received, died, replayed, reason, body)"
    " SELECT lm.new, m.new, l.key, l.updated, l.received, l.died, l.replayed, l.reason, l.body FROM saved.letter l"
    " JOIN temp.letter_map lm ON lm.old = l.id JOIN temp.source_map m ON m.old = l.source"
    " WHERE NOT EXISTS (SELECT 1 FROM main.letter t WHERE t.id = lm.new) ORDER BY lm.new",
    /* the columns by position, as in statements.c */
    "WITH n (source, tries, since, next, operator, made_with, reason) AS (SELECT * FROM saved.note)"
    " INSERT OR IGNORE INTO main.note SELECT m.new, tries, since, next, operator, made_with, reason FROM n"
    " JOIN temp.source_map m ON m.old = n.source",
};

struct merge {
    struct database database; /* the queue's, with the saved one attached */
    int64_t events;
};

static enum database_result run_merge(struct database *database, const char *text)
{
    return database_result_of(database, sqlite3_exec(database->db, text, NULL, NULL, NULL));
}

static enum database_result map_source(struct merge *merge, int64_t old, const char *name)
{
    char text[160];
    uint32_t number = 0;
    enum database_result result = schema_add_source(&merge->database, name, &number);
    if (result != DATABASE_DONE)
        return result;
    sqlite3_snprintf(sizeof text, text, "INSERT INTO temp.source_map VALUES (%lld, %u)", (long long)old,
                     (unsigned)number);
    return run_merge(&merge->database, text);
}

/* Reads each source before adding it, as adding has a transaction of its own. */
static enum database_result map_sources(struct merge *merge)
{
    struct database *database = &merge->database;
    sqlite3_stmt *next = NULL;
    int64_t last = 0;
    int code = sqlite3_prepare_v2(database->db,
                                  "SELECT number, name FROM saved.source WHERE number > ?1 ORDER BY number LIMIT 1", -1,
                                  &next, NULL);
    enum database_result result = database_result_of(database, code);
    while (result == DATABASE_DONE) {
        char name[256];
        sqlite3_bind_int64(next, 1, last);
        if (database_step(database, next, &result) != SQLITE_ROW)
            break;
        last = sqlite3_column_int64(next, 0);
        sqlite3_snprintf(sizeof name, name, "%s", (const char *)sqlite3_column_text(next, 1));
        sqlite3_reset(next);
        result = map_source(merge, last, name);
    }
    sqlite3_finalize(next);
    return result;
}

/* Copies those events of a source that are not in both databases, nor were merged before. */
static enum database_result merge_source(struct merge *merge, unsigned from, unsigned to)
{
    struct database *database = &merge->database;
    char text[1024];
    sqlite3_snprintf(sizeof text, text,
                     "INSERT INTO main.event_%u (received, letter, body) SELECT e.received,"
                     " (SELECT new FROM temp.letter_map WHERE old = e.letter), e.body FROM saved.event_%u e"
                     " WHERE e.id > coalesce((SELECT n FROM temp.merged_up_to WHERE source = %u), 0)"
                     " AND NOT EXISTS (SELECT 1 FROM main.event_%u t WHERE t.id = e.id AND t.received = e.received"
                     " AND t.body = e.body) ORDER BY e.id",
                     to, from, from, to);
    enum database_result result = run_merge(database, text);
    if (result != DATABASE_DONE)
        return result;
    merge->events += sqlite3_changes(database->db);
    return merge_counts_close(database, to);
}

static enum database_result merge_sources(struct merge *merge)
{
    struct database *database = &merge->database;
    sqlite3_stmt *sources = NULL;
    int code = sqlite3_prepare_v2(database->db, "SELECT old, new FROM temp.source_map", -1, &sources, NULL);
    enum database_result result = database_result_of(database, code);
    while (result == DATABASE_DONE && database_step(database, sources, &result) == SQLITE_ROW)
        result =
            merge_source(merge, (unsigned)sqlite3_column_int64(sources, 0), (unsigned)sqlite3_column_int64(sources, 1));
    sqlite3_finalize(sources);
    return result;
}

static enum database_result merge_all(struct merge *merge)
{
    struct database *database = &merge->database;
    enum database_result result = map_sources(merge);
    if (result != DATABASE_DONE)
        return result;
    result = database_begin(database);
    if (result != DATABASE_DONE)
        return result;
    result = merge_counts_begin(database);
    for (size_t i = 0; result == DATABASE_DONE && i < sizeof common / sizeof *common; i++)
        result = run_merge(database, common[i]);
    if (result == DATABASE_DONE)
        result = merge_counts_add(database);
    if (result == DATABASE_DONE)
        result = merge_sources(merge);
    return database_end(database, result);
}

static enum database_result attach(struct database *database, const char *saved)
{
    char *text = sqlite3_mprintf("ATTACH %Q AS saved", saved);
    enum database_result result = text == NULL ? DATABASE_FAILED : run_merge(database, text);
    sqlite3_free(text);
    return result == DATABASE_DONE ? run_merge(database, prepare_maps) : result;
}

/* Whether this database is the damaged one; if it is the queue's own, it is repaired and the merge tried again. */
static bool is_damaged(struct database *database, const char *schema)
{
    char text[64];
    sqlite3_stmt *check = NULL;
    sqlite3_snprintf(sizeof text, text, "PRAGMA %s.quick_check(1)", schema);
    bool good = sqlite3_prepare_v2(database->db, text, -1, &check, NULL) == SQLITE_OK &&
                sqlite3_step(check) == SQLITE_ROW &&
                sqlite3_stricmp((const char *)sqlite3_column_text(check, 0), "ok") == 0;
    sqlite3_finalize(check);
    return !good;
}

enum database_result merge_into_queue(const char *directory, const char *saved, struct error *why)
{
    struct merge merge = {.events = 0};
    struct database *database = &merge.database;
    enum database_result result = schema_make(directory, why);
    if (result != DATABASE_DONE)
        return result;
    result = schema_open(database, directory, true);
    if (result == DATABASE_DAMAGED)
        result = DATABASE_FAILED;
    if (result == DATABASE_DONE)
        result = attach(database, saved);
    if (result == DATABASE_DONE)
        result = merge_all(&merge);
    *why = database->why;
    if (result == DATABASE_DAMAGED && !is_damaged(database, "saved")) {
        damage_mark(directory);
        result = DATABASE_FAILED;
    }
    database_close(database);
    if (result == DATABASE_DONE)
        log_write(
            LEVEL_WARN,
            "msg=queue_rescued state_dir=\"%s\" events=%lld reason=\"what the replaced files held is put into the "
            "queue that stands there now; what was delivered is not sent again\"",
            directory, (long long)merge.events);
    return result;
}
