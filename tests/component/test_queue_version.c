/* The queue's database is that of version 1, column by column: the release before must be able to use what this one
 * made, and this one what the release before made. Of both engines. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/queue.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"

/* Never to be changed: databases like this are in use. */
static const char version_1[] =
    "CREATE TABLE source (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
    "CREATE TABLE count (source INTEGER NOT NULL, kind INTEGER NOT NULL, n INTEGER NOT NULL,"
    " PRIMARY KEY (source, kind)) WITHOUT ROWID;"
    "CREATE TABLE journal (n INTEGER PRIMARY KEY, source INTEGER NOT NULL, key BLOB NOT NULL,"
    " updated INTEGER NOT NULL, at INTEGER NOT NULL);"
    "CREATE TABLE known (source INTEGER NOT NULL, key BLOB NOT NULL, updated INTEGER NOT NULL, at INTEGER NOT NULL,"
    " PRIMARY KEY (source, key)) WITHOUT ROWID;"
    "CREATE TABLE letter (id INTEGER PRIMARY KEY AUTOINCREMENT, source INTEGER NOT NULL, key BLOB, updated INTEGER,"
    " received INTEGER NOT NULL, died INTEGER NOT NULL, replayed INTEGER, reason TEXT NOT NULL, body BLOB NOT NULL);"
    "CREATE INDEX letter_key ON letter (source, key);"
    "CREATE TABLE note (source INTEGER PRIMARY KEY, tries INTEGER NOT NULL, since INTEGER NOT NULL,"
    " next INTEGER NOT NULL, operator INTEGER NOT NULL, made_with INTEGER NOT NULL, reason TEXT NOT NULL);"
    "CREATE TABLE parked (source INTEGER NOT NULL, id INTEGER NOT NULL, since INTEGER NOT NULL,"
    " PRIMARY KEY (source, id)) WITHOUT ROWID;"
    "INSERT INTO source VALUES (1, 'one');"
    "CREATE TABLE event_1 (id INTEGER PRIMARY KEY AUTOINCREMENT, received INTEGER NOT NULL, letter INTEGER,"
    " body BLOB NOT NULL);"
    "INSERT INTO note VALUES (1, 7, 1000, 2000, 1, 99, 'away');"
    "INSERT INTO parked VALUES (1, 5, 3000);"
    "PRAGMA user_version = 1";

/* Likewise of the engine postgresql. */
static const char postgresql_1[] =
    "CREATE TABLE source (number int4 PRIMARY KEY, name text NOT NULL UNIQUE);"
    "CREATE TABLE event (source int4 NOT NULL, id int8 NOT NULL, received int8 NOT NULL, letter int8,"
    " body bytea NOT NULL, PRIMARY KEY (source, id));"
    "CREATE TABLE appended (writer int8 NOT NULL, n int8 NOT NULL, made int8 NOT NULL, PRIMARY KEY (writer, n));"
    "CREATE TABLE known (source int4 NOT NULL, at int8 NOT NULL, key uuid NOT NULL, updated int8 NOT NULL,"
    " PRIMARY KEY (source, key));"
    "CREATE TABLE count (source int4 NOT NULL, kind int2 NOT NULL, n int8 NOT NULL, PRIMARY KEY (source, kind))"
    " WITH (fillfactor = 10);"
    "CREATE TABLE letter (id int8 PRIMARY KEY GENERATED ALWAYS AS IDENTITY, source int4 NOT NULL, key uuid,"
    " updated int8, received int8 NOT NULL, died int8 NOT NULL, replayed int8, reason text NOT NULL,"
    " body bytea NOT NULL);"
    "CREATE INDEX letter_key ON letter (source, key);"
    "CREATE INDEX letter_died ON letter (died);"
    "CREATE TABLE note (source int4 PRIMARY KEY, tries int4 NOT NULL, since int8 NOT NULL, next int8 NOT NULL,"
    " operator int4 NOT NULL, made_with int8 NOT NULL, reason text NOT NULL);"
    "CREATE TABLE parked (source int4 NOT NULL, id int8 NOT NULL, since int8 NOT NULL, PRIMARY KEY (source, id));"
    "CREATE TABLE request (number int8 PRIMARY KEY GENERATED ALWAYS AS IDENTITY, source text NOT NULL,"
    " event int8 NOT NULL, made int8 NOT NULL, key uuid, updated int8 NOT NULL, state int4 NOT NULL DEFAULT 0,"
    " words text NOT NULL DEFAULT '');"
    "CREATE TABLE meta (version int4 NOT NULL, made int8 NOT NULL, probed int8 NOT NULL);"
    "INSERT INTO meta SELECT 1, (extract(epoch FROM clock_timestamp()) * 1000)::int8, 0;"
    "CREATE TABLE kept (path text PRIMARY KEY, value bytea NOT NULL, version int8 NOT NULL);"
    "INSERT INTO kept VALUES ('', uuid_send(gen_random_uuid()), 1);"
    "ALTER TABLE event ALTER body SET COMPRESSION lz4; ALTER TABLE letter ALTER body SET COMPRESSION lz4";

static const char postgresql_1_used[] =
    "INSERT INTO source VALUES (1, 'one'); CREATE SEQUENCE id_1; SELECT setval('id_1', 7);"
    "INSERT INTO event VALUES (1, 7, 1000, NULL, 'waits'); INSERT INTO appended VALUES (1, 1, 1000);"
    "INSERT INTO known VALUES (1, (extract(epoch FROM clock_timestamp()) * 1000)::int8,"
    " '01010101-0101-0101-0101-010101010101', 100);"
    "INSERT INTO count VALUES (1, 1, 5), (1, 4, 1), (1, 8, 1000), (1, 9, 1000);"
    "INSERT INTO letter (source, received, died, reason, body) VALUES (1, 1000, 2000, 'no', 'dead');"
    "INSERT INTO note VALUES (1, 7, 1000, 2000, 1, 99, 'away'); INSERT INTO parked VALUES (1, 5, 3000)";

/* What version 1 writes, whatever columns have come since. */
static const char postgresql_1_writes[] =
    "INSERT INTO source (number, name) VALUES (99, 'by version 1');"
    "INSERT INTO event (source, id, received, letter, body) VALUES (99, 1, 1000, NULL, 'x');"
    "INSERT INTO appended (writer, n, made) VALUES (99, 1, 1000);"
    "INSERT INTO known (source, at, key, updated) VALUES (99, 1000, gen_random_uuid(), 100);"
    "INSERT INTO count (source, kind, n) VALUES (99, 1, 1) ON CONFLICT (source, kind) DO UPDATE SET n = 2;"
    "INSERT INTO letter (source, key, updated, received, died, reason, body) VALUES (99, NULL, 0, 1, 2, 'no', 'x');"
    "INSERT INTO note (source, tries, since, next, operator, made_with, reason) VALUES (99, 1, 1, 1, 0, 1, '');"
    "INSERT INTO parked (source, id, since) VALUES (99, 1, 1);"
    "INSERT INTO request (source, event, made, key, updated) VALUES ('one', 1, 1000, NULL, 0);"
    "INSERT INTO kept (path, value, version) VALUES ('by version 1', 'x', 1); UPDATE meta SET probed = 1";

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct queue_rig_engine engine;

static int make_directory(void)
{
    return queue_rig_set_up(&made, directory, state);
}

static int remove_directory(void)
{
    struct events none = {.count = 0};
    return queue_rig_tear_down(directory, &none);
}

/* Makes a state directory whose database these statements make. */
static void make_database(const char *name, const char *const *statements)
{
    char path[PATH_SIZE];
    sqlite3 *db = NULL;
    path_join(state, directory, name);
    path_join(path, state, "queue.db");
    CU_ASSERT_EQUAL_FATAL(mkdir(state, 0700), 0);
    CU_ASSERT_EQUAL_FATAL(sqlite3_open(path, &db), SQLITE_OK);
    for (size_t i = 0; statements[i] != NULL; i++)
        check(sqlite3_exec(db, statements[i], NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
    sqlite3_close(db);
    CU_ASSERT_EQUAL(chmod(path, 0600), 0);
}

static void use_notes(void)
{
    struct error why = {0};
    struct notes notes;
    struct queue *queue = queue_rig_open(&made);
    queue_rig_claim(queue);
    check(queue_note(queue, "one", &notes, false, &why), "the notes can be read: %s", why.text);
    CU_ASSERT(notes.tries == 7 && notes.since_ms == 1000 && notes.next_ms == 2000 && notes.operator_must_act);
    CU_ASSERT(notes.config_fingerprint == 99 && strcmp(notes.reason, "away") == 0);
    CU_ASSERT(notes.parked_count == 1 && notes.parked[0].id == 5 && notes.parked[0].since_ms == 3000);
    struct notes other = {.tries = 3, .config_fingerprint = 98, .reason = "still away"};
    check(queue_note(queue, "one", &other, true, &why), "the notes can be written: %s", why.text);
    CU_ASSERT(queue_note(queue, "one", &notes, false, &why));
    CU_ASSERT(notes.tries == 3 && notes.config_fingerprint == 98 && strcmp(notes.reason, "still away") == 0);
    queue_close(queue);
}

static void the_release_befores_notes_are_taken_on(void)
{
    make_database("before", (const char *const[]){version_1, NULL});
    use_notes();
}

/* Some builds that were never released named a column otherwise. */
static void those_of_builds_in_between_too(void)
{
    make_database("between", (const char *const[]){
                                 version_1, "ALTER TABLE note RENAME COLUMN made_with TO config_fingerprint", NULL});
    use_notes();
}

/* All tables and indexes of version 1 stand in the database as that version made them; more may be there. */
static void a_new_database_is_one_that_the_release_before_can_use(void)
{
    static const char missing[] = "SELECT group_concat(b.name) FROM before.sqlite_master b WHERE NOT EXISTS"
                                  " (SELECT 1 FROM main.sqlite_master m WHERE m.name = b.name AND m.sql IS b.sql)";
    char path[PATH_SIZE], attach[PATH_SIZE + 32];
    struct error why = {0};
    sqlite3 *db = NULL;
    sqlite3_stmt *ask = NULL;
    make_database("as-before", (const char *const[]){version_1, NULL});
    path_join(path, state, "queue.db");
    snprintf(attach, sizeof attach, "ATTACH '%s' AS before", path);
    path_join(state, directory, "new");
    struct queue *queue = queue_rig_open(&made);
    CU_ASSERT(queue_append(queue, "one", "{}", 2, MOMENT_NEVER, &why) == QUEUE_STORED);
    queue_close(queue);
    path_join(path, state, "queue.db");
    CU_ASSERT_EQUAL_FATAL(sqlite3_open(path, &db), SQLITE_OK);
    check(sqlite3_exec(db, attach, NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
    CU_ASSERT_EQUAL_FATAL(sqlite3_prepare_v2(db, missing, -1, &ask, NULL), SQLITE_OK);
    CU_ASSERT_EQUAL(sqlite3_step(ask), SQLITE_ROW);
    const char *names = (const char *)sqlite3_column_text(ask, 0);
    check(names == NULL, "missing or different: %s", names);
    sqlite3_finalize(ask);
    sqlite3_close(db);
}

/* ---- the engine postgresql ---- */

static int begin_postgresql(void)
{
    return make_directory() != 0 || !queue_rig_postgresql(&engine, &made);
}

static int end_postgresql(void)
{
    queue_rig_engine_end(&engine);
    return remove_directory();
}

/* A database as the statements make it. */
static void make_tables(const char *name, const char *more)
{
    path_join(state, directory, name);
    queue_rig_new(&engine, &made);
    free(postgresql_run(engine.url, "CREATE SCHEMA closecrm"));
    queue_rig_change(&engine, &made, "", postgresql_1);
    queue_rig_change(&engine, &made, "", more);
}

/* All that is in it is read, goes on, and ends. */
static void use_all(void)
{
    struct error why = {0};
    struct events found = {0};
    struct letters letters = {0};
    struct known known;
    const struct identity asked = {.key = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}};
    struct queue *queue = queue_rig_open(&made);
    queue_rig_append(queue, "one", "new");
    queue_rig_claim(queue);
    CU_ASSERT_EQUAL_FATAL(queue_next(queue, "one", 0, 10, 4096, &found, &why), 2);
    CU_ASSERT(found.at[0].id == 7 && found.at[0].received_ms == 1000 && found.at[1].id == 8);
    CU_ASSERT_NSTRING_EQUAL(found.at[0].body, "waits", 5);
    CU_ASSERT(queue_known(queue, "one", &asked, 1, &known, &why) && known.delivered && known.delivered_us == 100);
    CU_ASSERT_EQUAL_FATAL(queue_letters(queue, "one", 0, 10, 4096, &letters, &why), 1);
    CU_ASSERT_STRING_EQUAL(letters.at[0].reason, "no");
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").delivered, 5);
    const struct verdict verdicts[] = {{.id = 7, .kind = VERDICT_DELIVERED}, {.id = 8, .kind = VERDICT_DELIVERED}};
    check(queue_settle(queue, "one", verdicts, 2, &why), "they can be settled: %s", why.text);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").delivered, 7);
    events_free(&found);
    letters_free(&letters);
    queue_close(queue);
}

/* A queue that the release before made and used. */
static void the_release_befores_queue_is_taken_on(void)
{
    make_tables("before", postgresql_1_used);
    use_notes();
    use_all();
}

/* Before the table kept there was. */
static void that_of_a_build_without_kept_too(void)
{
    make_tables("early", "DROP TABLE kept");
    queue_rig_change(&engine, &made, "", postgresql_1_used);
    use_all();
    CU_ASSERT_STRING_EQUAL(postgresql_ask(engine.url, "SELECT count(*) FROM closecrm.kept WHERE path = ''"), "1");
}

/* What the catalogue says of all columns and indexes; static. */
static const char *described(void)
{
    static char text[8192];
    char *answer = postgresql_run(
        engine.url,
        "SELECT string_agg(line, E'\\n' ORDER BY line) FROM (SELECT c.relname || '.' || a.attname || ' ' ||"
        " format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END ||"
        " a.attidentity::text || coalesce(' ' || pg_get_expr(d.adbin, d.adrelid), '') || a.attcompression::text AS line"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND"
        " d.adnum = a.attnum WHERE c.relnamespace = 'closecrm'::regnamespace AND c.relkind = 'r' AND a.attnum > 0"
        " UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'closecrm'"
        " UNION ALL SELECT 'version ' || version FROM closecrm.meta) l");
    CU_ASSERT_PTR_NOT_NULL(answer);
    snprintf(text, sizeof text, "\n%s\n", answer == NULL ? "" : answer);
    free(answer);
    return text;
}

/* All that version 1 has is in it; more may be there, if it can be left out. */
static void a_new_one_can_be_used_by_the_release_before(void)
{
    char before[8192], line[512], *next;
    make_tables("as-before", "SELECT 1");
    snprintf(before, sizeof before, "%s", described());
    path_join(state, directory, "new");
    queue_rig_new(&engine, &made);
    struct queue *queue = queue_rig_open(&made);
    queue_rig_append(queue, "one", "{}");
    queue_close(queue);
    const char *now = described();
    for (char *at = strtok_r(before, "\n", &next); at != NULL; at = strtok_r(NULL, "\n", &next)) {
        snprintf(line, sizeof line, "\n%s\n", at);
        check(strstr(now, line) != NULL, "missing or different: %s", at);
    }
    queue_rig_change(&engine, &made, "", postgresql_1_writes);
}

void suite_queue_version_postgresql(void)
{
    static CU_TestInfo tests[] = {
        {"the release before's queue is taken on", the_release_befores_queue_is_taken_on},
        {"that of a build without kept, too", that_of_a_build_without_kept_too},
        {"a new database is one that the release before can use", a_new_one_can_be_used_by_the_release_before},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue version postgresql", begin_postgresql, end_postgresql, tests);
}

void suite_queue_version(void)
{
    static CU_TestInfo tests[] = {
        {"the release before's notes are taken on", the_release_befores_notes_are_taken_on},
        {"those of builds in between, too", those_of_builds_in_between_too},
        {"a new database is one that the release before can use",
         a_new_database_is_one_that_the_release_before_can_use},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue version", make_directory, remove_directory, tests);
}
