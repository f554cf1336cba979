/* Merging one queue database into another: see rescue.h. In SQL, with the saved database attached as `saved`. */
#include "queue/sqlite/rescue.h"

#include "base/log.h"
#include "queue/sqlite/directory.h"
#include "queue/sqlite/store.h"

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
    if (result == DATABASE_DONE)
        return database_commit(database);
    database_rollback(database);
    return result;
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
