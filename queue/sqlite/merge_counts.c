/* Counts of merged databases: see rescue.h. The table `origin` has what of the queue's counts came from which database,
 * by the id that each has (COUNT_DATABASE); what is left is its own. The same database may be merged again and again,
 * each time by a later copy, or by way of another one into which it was merged before: of each origin the larger number
 * counts, so nothing counts twice. */
#include "queue/sqlite/rescue.h"

#include "queue/sqlite/store.h"

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
