/* The engine `postgresql` when its database is exchanged or damaged, while it works or between two runs: it is noticed
 * and said, nothing is accepted or settled there until the operator has decided, and each event that was answered 200
 * is in the database that was there then, under its own source. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "health/facts.h"
#include "health/findings.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"

#define PATIENCE_MS 60000
#define TRY_MS 5000
#define THREADS 4
#define MOST 40000 /* events of a thread */
#define BODY 32

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct queue_rig_engine engine, other;
static struct events found;

static int begin(void)
{
    bool good = queue_rig_set_up(&made, directory, state) == 0;
    path_join(state, directory, "state");
    return !(good && queue_rig_postgresql(&engine, &made));
}

static int end(void)
{
    queue_rig_engine_end(&engine);
    queue_rig_engine_end(&other);
    return queue_rig_tear_down(directory, &found);
}

static void say(const char *sql)
{
    char *text = postgresql_run(engine.url, sql);
    check(text != NULL, "%s", sql);
    free(text);
}

static const char *ask(const char *sql)
{
    return postgresql_ask(engine.url, sql);
}

/* ---- load ---- */

struct sender {
    pthread_t thread;
    unsigned number;
    size_t count, stored; /* sent, answered 200 */
    char body[MOST][BODY];
};

static struct sender sender[THREADS];
static struct queue *loaded;
static atomic_bool load_ends;
static atomic_uint stored_count, refused_count;

static void *run_sender(void *context)
{
    struct sender *self = context;
    while (!atomic_load(&load_ends) && self->stored < MOST) {
        struct error why = {0};
        const char *source = ++self->count % 2 == 0 ? "one" : "two";
        char *body = self->body[self->stored];
        snprintf(body, BODY, "%s-%u-%zu", source, self->number, self->count);
        bool good = queue_append(loaded, source, body, strlen(body), clock_now() + TRY_MS, &why) == QUEUE_STORED;
        self->stored += good;
        atomic_fetch_add(good ? &stored_count : &refused_count, 1);
        poll(NULL, 0, 5);
    }
    return NULL;
}

static void load_begin(struct queue *queue)
{
    loaded = queue;
    atomic_store(&load_ends, false);
    atomic_store(&stored_count, 0);
    atomic_store(&refused_count, 0);
    for (unsigned i = 0; i < THREADS; i++) {
        sender[i].number = i;
        sender[i].count = sender[i].stored = 0;
        CU_ASSERT_EQUAL_FATAL(pthread_create(&sender[i].thread, NULL, run_sender, &sender[i]), 0);
    }
}

static void load_end(void)
{
    atomic_store(&load_ends, true);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(sender[i].thread, NULL);
}

/* So many more than now. */
static bool more(atomic_uint *count, unsigned by)
{
    unsigned wanted = atomic_load(count) + by;
    for (moment until = clock_now() + PATIENCE_MS; clock_now() < until; poll(NULL, 0, 5)) {
        if (atomic_load(count) >= wanted)
            return true;
    }
    return check(false, "%u more of what is %s", by, count == &stored_count ? "stored" : "refused");
}

/* All that was stored is in one of the texts, "\nbody\nbody\n", which are freed. */
static void check_stored(char *one, char *two)
{
    size_t lost = 0, all = 0;
    char line[BODY + 2];
    for (unsigned i = 0; i < THREADS; i++) {
        for (size_t j = 0; j < sender[i].stored; j++, all++) {
            snprintf(line, sizeof line, "\n%s\n", sender[i].body[j]);
            lost += strstr(one, line) == NULL && (two == NULL || strstr(two, line) == NULL);
        }
    }
    check(lost == 0 && all > 0, "%zu of %zu that were answered 200 are lost", lost, all);
    free(one);
    free(two);
}

/* To be freed. Also asserts that each is under its own source. */
static char *bodies_in(const char *url, const char *schema)
{
    char sql[400];
    snprintf(sql, sizeof sql,
             "SELECT E'\\n' || coalesce(string_agg(convert_from(body, 'UTF8'), E'\\n'), '') || E'\\n' FROM %s.event",
             schema);
    char *bodies = postgresql_run(url, sql);
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM %s.event e LEFT JOIN %s.source s ON s.number = e.source"
             " WHERE split_part(convert_from(body, 'UTF8'), '-', 1) IS DISTINCT FROM s.name",
             schema, schema);
    check(strcmp(postgresql_ask(url, sql), "0") == 0, "%s of %s are not under their source", postgresql_ask(url, sql),
          schema);
    CU_ASSERT_PTR_NOT_NULL_FATAL(bodies);
    return bodies;
}

/* ---- words ---- */

static void expect_words(const char *words)
{
    struct finding finding;
    queue_rig_refused(&made, QUEUE_BROKEN, words);
    struct queue *queue = queue_rig_open(&made);
    struct facts *facts = facts_gather(&made.config, queue, NULL, NULL, clock_unix_ms()); /* check, cron, the page */
    CU_ASSERT_PTR_NOT_NULL_FATAL(facts);
    CU_ASSERT_EQUAL(finding_judge(FINDING_QUEUE_BROKEN, facts, NULL, &finding), FINDING_FOUND);
    check(strstr(finding.sentence, words) != NULL, "%s: %s", words, finding.sentence);
    facts_free(facts);
    queue_close(queue);
}

static void expect_mismatch(const char *what)
{
    char words[200];
    snprintf(words, sizeof words, "found %s", what);
    expect_words("this is not the database that this state directory has worked with: expected the queue ");
    expect_words(words);
    expect_words("go on with what is there now: `closecrm.fcgi queue adopt`");
}

static void hear(void *context, const char *words)
{
    struct error *heard = context;
    error_set(heard, "%s", words);
}

static void adopt(const char *words)
{
    struct error why = {0}, heard = {0};
    struct queue *queue = queue_rig_open(&made);
    check(queue_adopt(queue, hear, &heard, &why), "it is adopted: %s", why.text);
    check(strstr(heard.text, words) != NULL, "%s: %s", words, heard.text);
    queue_close(queue);
}

static void expect_quiet(void)
{
    struct queue *queue = queue_rig_open(&made);
    queue_rig_append(queue, "one", "one-quiet");
    queue_rig_claim(queue);
    CU_ASSERT_TRUE(queue_rig_counts(queue, "one").waiting > 0);
    queue_close(queue);
}

static struct queue *open_new(void)
{
    queue_rig_new(&engine, &made);
    return queue_rig_open(&made);
}

/* Once both sources have their numbers. */
static struct queue *open_loaded(void)
{
    struct queue *queue = open_new();
    queue_rig_append(queue, "one", "one-first");
    queue_rig_append(queue, "two", "two-first");
    load_begin(queue);
    more(&stored_count, 20);
    return queue;
}

/* ---- under load ---- */

static void a_schema_that_is_renamed_is_missed(void)
{
    struct queue *queue = open_loaded();
    say("ALTER SCHEMA closecrm RENAME TO elsewhere");
    more(&refused_count, 20);
    expect_mismatch("no queue.");
    CU_ASSERT_STRING_EQUAL(ask("SELECT count(*) FROM pg_namespace WHERE nspname = 'closecrm'"), "0");
    say("ALTER SCHEMA elsewhere RENAME TO closecrm");
    more(&stored_count, 20);
    load_end();
    queue_close(queue);
    check_stored(bodies_in(engine.url, "closecrm"), NULL);
    expect_quiet();
}

/* As a dump that is restored in one transaction: no statement ever fails meanwhile. */
static const char exchange[] =
    "BEGIN; ALTER SCHEMA closecrm RENAME TO elsewhere; CREATE SCHEMA closecrm; DO $$DECLARE t name; BEGIN"
    " FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'elsewhere' LOOP"
    " EXECUTE format('CREATE TABLE closecrm.%I (LIKE elsewhere.%I INCLUDING ALL)', t, t);"
    " IF t NOT IN ('letter', 'request') THEN EXECUTE format('INSERT INTO closecrm.%I SELECT * FROM elsewhere.%I', t, "
    "t);"
    " END IF; END LOOP; END$$; TRUNCATE closecrm.source, closecrm.event;"
    " INSERT INTO closecrm.source SELECT 3 - number, name FROM elsewhere.source;"
    " INSERT INTO closecrm.event SELECT 3 - source, id, received, letter, body FROM elsewhere.event;"
    " CREATE SEQUENCE closecrm.id_1; CREATE SEQUENCE closecrm.id_2;"
    " SELECT setval('closecrm.id_1', nextval('elsewhere.id_2')), setval('closecrm.id_2', nextval('elsewhere.id_1'));"
    " COMMIT";

static void a_dump_with_other_numbers_is_missed(void)
{
    struct error why = {0};
    struct queue *queue = open_loaded(), *owner = queue_rig_open(&made);
    queue_rig_claim(owner);
    CU_ASSERT_TRUE(queue_next(owner, "one", 0, 10, 65536, &found, &why) > 0);
    struct verdict verdict = {.id = found.at[0].id, .kind = VERDICT_DELIVERED};
    say(exchange);
    CU_ASSERT_FALSE(queue_settle(owner, "one", &verdict, 1, &why)); /* an event of "two" has that id there */
    CU_ASSERT_TRUE(queue_is_lost(owner));
    CU_ASSERT_STRING_EQUAL(ask("SELECT count(*) FROM closecrm.event WHERE body IN ('one-first', 'two-first')"), "2");
    CU_ASSERT_FALSE(queue_claim(owner, &why));
    CU_ASSERT_EQUAL(queue_next(owner, "one", 0, 10, 65536, &found, &why), -1);
    more(&refused_count, 20);
    expect_mismatch("a copy of it, as from a dump that was restored");
    adopt("is this state directory's from now on: ");
    more(&stored_count, 20);
    load_end();
    queue_close(owner);
    queue_close(queue);
    check_stored(bodies_in(engine.url, "closecrm"), bodies_in(engine.url, "elsewhere"));
    expect_quiet();
    adopt("was this state directory's before, and is from now on: ");
}

/* Rows alone: the tables stay what they are. */
static void numbers_that_change_in_place_are_read_anew(void)
{
    struct queue *queue = open_loaded();
    for (unsigned i = 0; i < 10; i++) {
        say("BEGIN; LOCK TABLE closecrm.event IN EXCLUSIVE MODE; CREATE TEMP TABLE e AS SELECT 3 - source, id, "
            "received,"
            " letter, body FROM closecrm.event; CREATE TEMP TABLE s AS SELECT 3 - number, name FROM closecrm.source;"
            " DELETE FROM closecrm.event; DELETE FROM closecrm.source; INSERT INTO closecrm.event SELECT * FROM e;"
            " INSERT INTO closecrm.source SELECT * FROM s; ALTER SEQUENCE closecrm.id_1 RENAME TO id_3;"
            " ALTER SEQUENCE closecrm.id_2 RENAME TO id_1; ALTER SEQUENCE closecrm.id_3 RENAME TO id_2; COMMIT");
        more(&stored_count, 10);
    }
    load_end();
    queue_close(queue);
    check_stored(bodies_in(engine.url, "closecrm"), NULL);
    CU_ASSERT_EQUAL(atomic_load(&refused_count), 0);
}

static void a_database_that_is_made_anew_is_missed(void)
{
    char postgres[POSTGRESQL_URL], sql[200];
    struct queue *queue = open_loaded();
    snprintf(postgres, sizeof postgres, "postgresql://tests@/postgres?host=%s", engine.postgresql.directory);
    snprintf(sql, sizeof sql, "ALTER DATABASE queue_%u ALLOW_CONNECTIONS false", engine.postgresql.databases);
    free(postgresql_run(postgres, sql)); /* else somebody is connected always, and it cannot be renamed */
    snprintf(sql, sizeof sql, "ALTER DATABASE queue_%u RENAME TO was_there", engine.postgresql.databases);
    bool renamed = false;
    for (moment until = clock_now() + PATIENCE_MS; !renamed && clock_now() < until; poll(NULL, 0, 5)) {
        free(
            postgresql_run(postgres, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ~ 'queue'"));
        char *done = postgresql_run(postgres, sql);
        renamed = done != NULL;
        free(done);
    }
    CU_ASSERT_TRUE(renamed);
    free(postgresql_run(postgres, "ALTER DATABASE was_there ALLOW_CONNECTIONS true"));
    snprintf(sql, sizeof sql, "CREATE DATABASE queue_%u", engine.postgresql.databases);
    free(postgresql_run(postgres, sql));
    more(&refused_count, 20);
    expect_mismatch("no queue.");
    CU_ASSERT_STRING_EQUAL(ask("SELECT count(*) FROM pg_namespace WHERE nspname = 'closecrm'"), "0");
    adopt("is this state directory's from now on: ");
    more(&stored_count, 20);
    load_end();
    queue_close(queue);
    char was[POSTGRESQL_URL];
    snprintf(was, sizeof was, "postgresql://tests@/was_there?host=%s", engine.postgresql.directory);
    check_stored(bodies_in(engine.url, "closecrm"), bodies_in(was, "closecrm"));
    expect_quiet();
    free(postgresql_run(postgres, "DROP DATABASE was_there"));
}

static void swap_clusters(void)
{
    char mine[PATH_SIZE], theirs[PATH_SIZE], aside[PATH_SIZE];
    path_join(mine, engine.postgresql.directory, "data");
    path_join(theirs, other.postgresql.directory, "data");
    path_join(aside, other.postgresql.directory, "aside");
    kill(engine.postgresql.server.pid, SIGINT); /* it does not wait for those who are connected */
    process_stop(&engine.postgresql.server, PATIENCE_MS);
    CU_ASSERT_EQUAL(rename(mine, aside) + rename(theirs, mine) + rename(aside, theirs), 0);
    CU_ASSERT_TRUE_FATAL(postgresql_begin(&engine.postgresql));
}

/* At the same place: a host's name that leads elsewhere. The other one has a queue of the same name of database. */
static void another_cluster_is_missed(void)
{
    char url[POSTGRESQL_URL];
    CU_ASSERT_TRUE_FATAL(postgresql_start(&other.postgresql, ""));
    while (other.postgresql.databases <= engine.postgresql.databases)
        CU_ASSERT_TRUE_FATAL(postgresql_database(&other.postgresql, other.url));
    queue_rig_new(&engine, &made);
    snprintf(url, sizeof url, "%s", engine.url);
    snprintf(engine.url, sizeof engine.url, "%s", other.url);
    expect_quiet(); /* the other one's queue */
    char note[PATH_SIZE];
    path_join(note, state, "queue.databases");
    CU_ASSERT_EQUAL(unlink(note), 0);
    snprintf(engine.url, sizeof engine.url, "%s", url);
    process_stop(&other.postgresql.server, PATIENCE_MS);
    struct queue *queue = queue_rig_open(&made);
    queue_rig_append(queue, "two", "two-first"); /* the first source here is the second one there */
    load_begin(queue);
    more(&stored_count, 20);
    swap_clusters();
    more(&refused_count, 20);
    expect_mismatch("the queue ");
    CU_ASSERT_STRING_EQUAL(ask("SELECT count(*) FROM closecrm.event"), "1");
    swap_clusters();
    more(&stored_count, 20);
    load_end();
    queue_close(queue);
    check_stored(bodies_in(engine.url, "closecrm"), NULL);
    expect_quiet();
}

/* ---- what is the same, and what is damaged ---- */

/* A standby has the same files. */
static void a_physical_copy_is_the_same(void)
{
    struct queue *queue = open_loaded();
    load_end();
    queue_close(queue);
    process_stop(&engine.postgresql.server, PATIENCE_MS);
    char data[PATH_SIZE], copy[PATH_SIZE];
    path_join(data, engine.postgresql.directory, "data");
    path_join(copy, engine.postgresql.directory, "copy");
    const char *const arguments[] = {"sh", "-c", "cp -a \"$0\" \"$1\" && rm -r \"$0\" && mv \"$1\" \"$0\"",
                                     data, copy, NULL};
    struct process tool;
    int status = -1;
    const struct process_options options = {
        .arguments = arguments, .directory = engine.postgresql.directory, .log = "/dev/null"};
    CU_ASSERT_TRUE_FATAL(process_start(&tool, &options) && process_wait(&tool, PATIENCE_MS, &status) && status == 0);
    CU_ASSERT_TRUE_FATAL(postgresql_begin(&engine.postgresql));
    expect_quiet();
}

static void what_was_dropped_is_named(void)
{
    struct error why = {0};
    struct queue *queue = open_new();
    queue_rig_append(queue, "one", "one-first");
    queue_rig_append(queue, "two", "two-first");
    say("ALTER TABLE closecrm.known RENAME TO gone");
    expect_words("lacks closecrm.known, which was dropped or renamed: put it back as it was; or stop the program on "
                 "all machines, "
                 "and keep a dump of the database as it is");
    say("ALTER TABLE closecrm.gone RENAME TO known; ALTER TABLE closecrm.meta RENAME TO gone");
    expect_words("lacks closecrm.meta, which was dropped");
    say("ALTER TABLE closecrm.gone RENAME TO meta; ALTER TABLE closecrm.event RENAME TO gone");
    CU_ASSERT_EQUAL(queue_append(queue, "one", "x", 1, clock_now() + TRY_MS, &why), QUEUE_BROKEN);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "lacks closecrm.event"));
    say("ALTER TABLE closecrm.gone RENAME TO event");
    queue_rig_append(queue, "one", "one-again");
    say("DROP SEQUENCE closecrm.id_2"); /* it is made anew, far behind all ids that there were */
    queue_rig_append(queue, "two", "two-again");
    CU_ASSERT_STRING_EQUAL(ask("SELECT string_agg(convert_from(body, 'UTF8'), ',' ORDER BY id) FROM closecrm.event"
                               " WHERE source = 2"),
                           "two-first,two-again");
    say("INSERT INTO closecrm.meta SELECT * FROM closecrm.meta");
    CU_ASSERT_EQUAL(queue_append(queue, "one", "x", 1, clock_now() + TRY_MS, &why), QUEUE_BROKEN);
    expect_words("a dump was restored while a program ran, for closecrm.meta has several rows: stop");
    say("DELETE FROM closecrm.meta");
    expect_words(
        "closecrm.meta has no row: stop the program on all machines, and keep a dump of the database as it is");
    CU_ASSERT_EQUAL(queue_append(queue, "one", "x", 1, clock_now() + TRY_MS, &why), QUEUE_BROKEN);
    queue_close(queue);
}

/* It has only the name of the queue that its copies of keys are from. */
static void a_state_of_the_release_before_is_taken_on(void)
{
    char record[200];
    struct queue *queue = open_new();
    queue_rig_append(queue, "one", "one-first");
    queue_close(queue);
    char note[PATH_SIZE];
    path_join(note, state, "queue.databases");
    int length = snprintf(record, sizeof record, "origin = %s\nversion = 1\n\n",
                          ask("SELECT encode(value, 'hex') FROM closecrm.kept WHERE path = ''"));
    CU_ASSERT_TRUE(temporary_write(state, "kept", 0600, record, (size_t)length));
    unlink(note);
    expect_quiet();
    CU_ASSERT_EQUAL(access(note, F_OK), 0);
    unlink(note);
    say("UPDATE closecrm.kept SET value = '\\x00' WHERE path = ''");
    expect_mismatch("the queue 00, made 2");
    say("DROP SCHEMA closecrm CASCADE");
    expect_mismatch("no queue.");
    path_join(note, state, "kept");
    unlink(note);
    expect_quiet();
}

void suite_queue_postgresql_other(void)
{
    static CU_TestInfo tests[] = {
        {"a schema that is renamed is missed", a_schema_that_is_renamed_is_missed},
        {"a dump with other numbers is missed", a_dump_with_other_numbers_is_missed},
        {"numbers that change in place are read anew", numbers_that_change_in_place_are_read_anew},
        {"a database that is made anew is missed", a_database_that_is_made_anew_is_missed},
        {"another cluster is missed", another_cluster_is_missed},
        {"a physical copy is the same", a_physical_copy_is_the_same},
        {"what was dropped is named", what_was_dropped_is_named},
        {"a state of the release before is taken on", a_state_of_the_release_before_is_taken_on},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue postgresql other", begin, end, tests);
}
