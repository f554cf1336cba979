/* The queue's database is that of version 1, column by column: the release before must be able to use what this one
 * made, and this one what the release before made. */
#include <sqlite3.h>
#include <stdio.h>
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

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];

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
