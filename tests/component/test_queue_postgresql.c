/* The engine `postgresql`: what is its own. Events are appended while connections are cut and the server crashes, gaps
 * in ids are waited for, who has lost the consumer lock settles nothing, and each fault is a sentence. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue/postgresql/libpq.h"
#include "tests/suites.h"
#include "tests/support/appender.h"
#include "tests/support/check.h"
#include "tests/support/forward_rig.h"
#include "tests/support/queue_rig.h"
#include "tests/support/shifted_clock.h"

#define PATIENCE_MS 60000
#define SHORT_MS 1000

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct queue_rig_engine engine;
static struct events found;

static int begin(void)
{
    /* libpq would take these for whatever a connection string leaves open */
    setenv("PGHOSTADDR", "127.0.0.1", 1);
    setenv("PGSERVICE", "nowhere", 1);
    bool good = queue_rig_set_up(&made, directory, state) == 0;
    path_join(state, directory, "state");
    struct error why;
    made.config.queue = QUEUE_POSTGRESQL;
    made.config.queue_url = engine.url;
    queue_close(queue_open(&made.config, &why));
    return !(good && getenv("PGSERVICE") == NULL && queue_rig_postgresql(&engine, &made));
}

static int end(void)
{
    queue_rig_engine_end(&engine);
    return queue_rig_tear_down(directory, &found);
}

static struct queue *open_new(void)
{
    queue_rig_new(&engine, &made);
    return queue_rig_open(&made);
}

/* What SQL gives; "" when it fails. Static. */
static const char *ask(const char *sql)
{
    return postgresql_ask(engine.url, sql);
}

static void append(struct queue *queue, const char *body)
{
    struct error why = {0};
    CU_ASSERT_EQUAL(queue_append(queue, "one", body, strlen(body), clock_now() + PATIENCE_MS, &why), QUEUE_STORED);
    CU_ASSERT_STRING_EQUAL(why.text, "");
}

static void own(struct queue *queue)
{
    struct error why = {0};
    bool owned = false;
    for (moment until = clock_now() + PATIENCE_MS; !owned && clock_now() < until;)
        owned = queue_claim(queue, &why) || usleep(20000) != 0;
    check(owned, "it is claimed: %s", why.text);
}

static int next(struct queue *queue, uint64_t after)
{
    struct error why = {0};
    int count = queue_next(queue, "one", after, 100, 65536, &found, &why);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    return count;
}

static bool settle(struct queue *queue, uint64_t id, struct error *why)
{
    struct verdict verdict = {.id = id, .kind = VERDICT_DELIVERED};
    return queue_settle(queue, "one", &verdict, 1, why);
}

static void end_backends(const char *purpose)
{
    char sql[200];
    snprintf(sql, sizeof sql,
             "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
             " AND application_name LIKE '%%%s'",
             purpose);
    ask(sql);
}

/* ---- gaps ---- */

/* SQL in a process of its own. */
static void *run_sql(void *context)
{
    return postgresql_run(engine.url, context);
}

/* Somebody takes an id and commits, or does not, after others; who reads meanwhile gets nothing that is behind it. */
static void wait_for_gap(const char *ending, const char *expected)
{
    char sql[400];
    pthread_t slow;
    char *printed = NULL;
    struct queue *queue = open_new();
    append(queue, "first");
    own(queue);
    CU_ASSERT_EQUAL(next(queue, 0), 1);
    ask("CREATE TABLE go ()");
    snprintf(sql, sizeof sql,
             "BEGIN; INSERT INTO closecrm.event VALUES (1, nextval('closecrm.id_1'), 1, NULL, 'slow');"
             " DO $$BEGIN LOOP PERFORM pg_sleep(0.01); EXIT WHEN EXISTS (SELECT FROM go); END LOOP; END$$; %s",
             ending);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&slow, NULL, run_sql, sql), 0);
    while (strcmp(ask("SELECT last_value FROM closecrm.id_1"), "1") == 0)
        usleep(10000);
    append(queue, "behind");
    CU_ASSERT_EQUAL(next(queue, 1), 0);
    ask("INSERT INTO go DEFAULT VALUES");
    pthread_join(slow, (void **)&printed);
    free(printed);
    CU_ASSERT_TRUE_FATAL(next(queue, 1) > 0);
    CU_ASSERT_NSTRING_EQUAL(found.at[0].body, expected, strlen(expected));
    CU_ASSERT_NSTRING_EQUAL(found.at[found.count - 1].body, "behind", 6);
    queue_close(queue);
}

static void an_id_that_is_committed_later_is_waited_for(void)
{
    wait_for_gap("COMMIT", "slow");
}

static void an_id_that_never_comes_is_passed_over(void)
{
    wait_for_gap("ROLLBACK", "behind");
}

/* ---- unknown commits ---- */

struct writer {
    struct queue *queue;
    unsigned number, stored;
    atomic_bool *ending;
    pthread_t thread;
};

static void *write_on(void *context)
{
    struct writer *writer = context;
    for (unsigned i = 0; !atomic_load(writer->ending); i++) {
        char body[40];
        struct error why;
        int length = snprintf(body, sizeof body, "%u/%u", writer->number, i);
        writer->stored +=
            queue_append(writer->queue, "one", body, (size_t)length, clock_now() + PATIENCE_MS, &why) == QUEUE_STORED;
    }
    return NULL;
}

/* Cuts connections, and lets the server crash, while many append. */
static void nothing_is_lost_and_nothing_twice_when_connections_are_cut(void)
{
    enum { WRITERS = 8, CUTS = 12 };
    struct writer writers[WRITERS];
    atomic_bool ending = false;
    unsigned long stored = 0;
    struct queue *queue = open_new();
    append(queue, "before");
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.queue = queue, .number = i, .ending = &ending};
        CU_ASSERT_EQUAL_FATAL(pthread_create(&writers[i].thread, NULL, write_on, &writers[i]), 0);
    }
    for (unsigned i = 0; i < CUTS; i++) {
        usleep(50000);
        if (i == CUTS / 2)
            CU_ASSERT_TRUE(postgresql_crash(&engine.postgresql));
        end_backends("appends");
    }
    atomic_store(&ending, true);
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        stored += writers[i].stored;
    }
    check(strtoul(ask("SELECT count(*) FROM closecrm.event"), NULL, 10) == stored + 1, "%lu and 1 are there: %s",
          stored, ask("SELECT count(*) FROM closecrm.event"));
    CU_ASSERT_STRING_EQUAL(ask("SELECT count(*) - count(DISTINCT body) FROM closecrm.event"), "0");
    CU_ASSERT_TRUE(stored > WRITERS);
    queue_close(queue);
}

/* What a standby has not confirmed is not stored, whatever else the server says. */
static void a_wait_for_the_standby_that_is_cancelled_is_no_success(void)
{
    struct appender one;
    struct queue *queue = open_new();
    append(queue, "before");
    ask("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    ask("SELECT pg_reload_conf()");
    moment until = clock_now() + PATIENCE_MS;
    while (queue_append(queue, "one", "x", 1, clock_now() + 200, NULL) != QUEUE_UNKNOWN && clock_now() < until)
        usleep(20000); /* the server takes a moment to know of it */
    appender_start(&one, queue, "one", "alone", 5, PATIENCE_MS);
    for (unsigned cancelled = 0; cancelled < 3 && clock_now() < until;) {
        usleep(50000);
        cancelled += strcmp(ask("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity"
                                " WHERE wait_event = 'SyncRep' AND application_name LIKE '%appends'"),
                            "1") == 0;
    }
    CU_ASSERT_EQUAL(queue_append(queue, "one", "x", 1, clock_now() + SHORT_MS, NULL), QUEUE_UNKNOWN);
    ask("ALTER SYSTEM RESET synchronous_standby_names");
    ask("SELECT pg_reload_conf()");
    CU_ASSERT_EQUAL(appender_join(&one), QUEUE_STORED);
    CU_ASSERT_STRING_EQUAL(ask("SELECT count(*) FROM closecrm.event WHERE body = 'alone'"), "1");
    queue_close(queue);
}

/* ---- the consumer lock ---- */

static void who_has_lost_the_lock_settles_nothing(void)
{
    struct error why = {0};
    size_t asked;
    uint64_t id = 1;
    struct queue *first = open_new(), *second = queue_rig_open(&made);
    append(first, "event");
    own(first);
    CU_ASSERT_EQUAL(next(first, 0), 1);
    CU_ASSERT_FALSE(queue_is_lost(first));
    end_backends("forwards");
    own(second);
    CU_ASSERT_EQUAL(next(second, 0), 1);
    CU_ASSERT_FALSE(settle(first, id, &why));
    CU_ASSERT_TRUE(queue_is_lost(first));
    CU_ASSERT_EQUAL(queue_again(first, "one", &id, 1, 4096, &found, &asked, &why), -1);
    CU_ASSERT_EQUAL(queue_next(first, "one", 0, 10, 4096, &found, &why), -1);
    CU_ASSERT_FALSE(queue_claim(first, &why));
    CU_ASSERT_STRING_EQUAL(why.text, "another process forwards");
    CU_ASSERT_TRUE(settle(second, id, &why));
    queue_close(second);
    own(first);
    CU_ASSERT_FALSE(queue_is_lost(first));
    CU_ASSERT_EQUAL(next(first, 0), 0);
    queue_close(first);
}

/* As after SIGSTOP, or on a machine that stood still: the server ends the session of who says nothing for 3 s. */
static void who_stood_still_has_lost_the_lock(void)
{
    struct error why = {0};
    struct queue *first = open_new(), *second = queue_rig_open(&made);
    append(first, "event");
    own(first);
    CU_ASSERT_EQUAL(next(first, 0), 1);
    moment began = clock_now();
    own(second);
    check(clock_now() - began < 8000, "it takes %lld ms", (long long)(clock_now() - began));
    CU_ASSERT_FALSE(settle(first, 1, &why));
    CU_ASSERT_TRUE(queue_is_lost(first));
    queue_close(first);
    queue_close(second);
}

static void forwarding_goes_on_after_the_lock_was_lost(void)
{
    enum { COUNT = 400 };
    struct rig rig;
    queue_rig_new(&engine, &made);
    rig_prepare(&rig);
    rig.made.config.queue = QUEUE_POSTGRESQL;
    rig.made.config.queue_url = engine.url;
    rig_open(&rig);
    rig_run_anew(&rig);
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned n = 0; n < COUNT / 4; n++)
            rig_append(&rig, i * COUNT / 4 + n, 20, NULL);
        end_backends("forwards");
    }
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    rig_end_anew(&rig);
    struct standin_counts sent = standin_counts(rig.standin); /* what was with the data plane just then comes twice */
    CU_ASSERT_EQUAL(sent.messages - sent.repeated, COUNT);
    struct counts counts = rig_counts(&rig);
    CU_ASSERT_EQUAL(counts.delivered, COUNT);
    CU_ASSERT_EQUAL(counts.accepted, COUNT);
    queue_close(rig.queue);
    standin_stop(rig.standin);
    temporary_remove(rig.directory);
}

/* ---- faults: each a sentence, and 503 ---- */

static void a_newer_schema_is_left_alone(void)
{
    struct queue *queue = open_new();
    append(queue, "event");
    queue_close(queue);
    ask("UPDATE closecrm.meta SET version = 99");
    queue_rig_refused(&made, QUEUE_BROKEN, "the queue in the database has version 99, made by a newer release");
}

static void what_the_role_may_not_is_said(void)
{
    char url[POSTGRESQL_URL];
    queue_rig_new(&engine, &made);
    snprintf(url, sizeof url, "%s", engine.url);
    ask("CREATE ROLE few LOGIN CONNECTION LIMIT 0");
    ask("CREATE ROLE secret LOGIN PASSWORD 'right'");
    ask("CREATE ROLE nothing LOGIN");
    char *at = strstr(url, "/queue_");
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    snprintf(engine.url, sizeof engine.url, "postgresql://few@%s", at);
    queue_rig_refused(&made, QUEUE_UNKNOWN, "too many connections for role \"few\"");
    snprintf(engine.url, sizeof engine.url, "postgresql://secret:wrong@%s", at);
    queue_rig_refused(&made, QUEUE_UNKNOWN, "password authentication failed for user \"secret\"");
    snprintf(engine.url, sizeof engine.url, "postgresql://nothing@%s", at);
    queue_rig_refused(&made, QUEUE_BROKEN,
                      "the tables of the queue cannot be made: the database says: permission denied");
}

static void an_address_that_cannot_be_used_is_said(void)
{
    static const struct {
        const char *url, *words;
    } rows[] = {
        {"postgresql:///database?host=/nowhere", "must name host, user and database"},
        {"postgresql://user@host/database?unknown=1", "queue_url cannot be read by this machine's libpq "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(engine.url, sizeof engine.url, "%s", rows[i].url);
        queue_rig_refused(&made, QUEUE_BROKEN, rows[i].words);
    }
    snprintf(engine.url, sizeof engine.url, "postgresql://user@host/database?ssl=true&oauth%%5Fscope=s3cr3t");
    if (PQlibVersion() < 180000)
        queue_rig_refused(&made, QUEUE_BROKEN, "queue_url has the parameter oauth_scope, which this machine's libpq ");
    snprintf(engine.url, sizeof engine.url, "postgresql://user@/database?host=/nowhere");
    queue_rig_refused(&made, QUEUE_UNKNOWN, "No such file or directory");
}

/* The kernel goes on taking what is sent to a server that is stopped: only our own deadlines see it. */
static void a_server_that_is_stopped_is_waited_for_and_no_longer(void)
{
    struct error why = {0};
    struct queue *queue = open_new();
    append(queue, "before");
    own(queue);
    CU_ASSERT_EQUAL(next(queue, 0), 1);
    postgresql_signal(&engine.postgresql, SIGSTOP);
    struct appender one;
    appender_start(&one, queue, "one", "while it stands", 15, 5000);
    moment began = clock_now();
    CU_ASSERT_FALSE(settle(queue, 1, &why));
    CU_ASSERT_TRUE(queue_is_lost(queue));
    CU_ASSERT_EQUAL(appender_join(&one), QUEUE_UNKNOWN);
    check(clock_now() - began < 10000, "it takes %lld ms", (long long)(clock_now() - began));
    postgresql_signal(&engine.postgresql, SIGCONT);
    append(queue, "after");
    own(queue);
    CU_ASSERT_TRUE(next(queue, 0) >= 1); /* what was settled, or not, is one thing or the other */
    CU_ASSERT_STRING_EQUAL(ask("SELECT count(*) FROM closecrm.event WHERE body = 'after'"), "1");
    queue_close(queue);
}

static void a_standby_alone_takes_nothing(void)
{
    struct queue *queue = open_new();
    append(queue, "before");
    queue_close(queue);
    process_stop(&engine.postgresql.server, PATIENCE_MS);
    char data[PATH_SIZE], signal[PATH_SIZE];
    path_join(data, engine.postgresql.directory, "data");
    path_join(signal, data, "standby.signal");
    CU_ASSERT_TRUE(temporary_write(data, "standby.signal", 0644, "", 0));
    CU_ASSERT_TRUE(postgresql_begin(&engine.postgresql));
    queue_rig_refused(&made, QUEUE_UNKNOWN, "session is read-only");
    process_stop(&engine.postgresql.server, PATIENCE_MS);
    unlink(signal);
    CU_ASSERT_TRUE(postgresql_begin(&engine.postgresql));
}

/* ---- operators ---- */

/* Marks of groups are deleted after an hour: by a machine's own clock that could be at once, and a group whose commit
 * is unknown would be stored again. */
static void a_group_is_marked_by_the_clock_of_the_server(void)
{
    struct queue *queue = open_new();
    shifted_clock_set(-3);
    append(queue, "one");
    shifted_clock_set(0);
    CU_ASSERT_STRING_EQUAL(ask("SELECT count(*) FROM closecrm.appended WHERE made > extract(epoch FROM now()) * 1000"
                               " - 3600000"),
                           "1");
    queue_close(queue);
}

/* Idle processes, of a pool of web server's for example, would use up max_connections. */
static void an_idle_writer_lets_go_of_its_connection(void)
{
    static const char writers[] = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND "
                                  "application_name LIKE '%appends%'";
    struct queue *queue = open_new();
    append(queue, "before");
    CU_ASSERT_STRING_EQUAL(ask(writers), "1");
    moment until = clock_now() + PATIENCE_MS;
    while (strcmp(ask(writers), "0") != 0 && clock_now() < until)
        poll(NULL, 0, 100);
    CU_ASSERT_STRING_EQUAL(ask(writers), "0");
    append(queue, "after");
    CU_ASSERT_STRING_EQUAL(ask("SELECT count(*) FROM closecrm.event"), "2");
    queue_close(queue);
}

static void count_fault(void *context, const char *fault)
{
    ++*(unsigned *)context;
    check(strstr(fault, "fsync is off") != NULL || strstr(fault, "without its sequences") != NULL, "%s", fault);
}

static void a_dump_without_its_sequences_is_found(void)
{
    struct error why = {0};
    size_t faults;
    unsigned reported = 0;
    struct queue *queue = open_new();
    append(queue, "one");
    append(queue, "two");
    CU_ASSERT_TRUE(queue_check(queue, count_fault, &reported, &faults, &why));
    CU_ASSERT_EQUAL(faults, 1); /* the tests' server does not sync */
    ask("ALTER SEQUENCE closecrm.id_1 RESTART");
    CU_ASSERT_EQUAL(queue_append(queue, "one", "x", 1, clock_now() + PATIENCE_MS, &why), QUEUE_BROKEN);
    CU_ASSERT_TRUE(queue_check(queue, count_fault, &reported, &faults, &why));
    CU_ASSERT_EQUAL(faults, 2);
    CU_ASSERT_EQUAL(reported, 3);
    queue_close(queue);
}

static void backups_are_its_own_tools_matter(void)
{
    struct error why = {0};
    struct queue *queue = open_new();
    CU_ASSERT_FALSE(queue_backup(queue, "/nowhere/backup", NULL, 1, &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "pg_dump"));
    CU_ASSERT_TRUE(queue_probe(queue, true, &why));
    queue_close(queue);
}

void suite_queue_postgresql(void)
{
    static CU_TestInfo tests[] = {
        {"an id that is committed later is waited for", an_id_that_is_committed_later_is_waited_for},
        {"an id that never comes is passed over", an_id_that_never_comes_is_passed_over},
        {"nothing is lost, and nothing twice, when connections are cut",
         nothing_is_lost_and_nothing_twice_when_connections_are_cut},
        {"a wait for the standby that is cancelled is no success",
         a_wait_for_the_standby_that_is_cancelled_is_no_success},
        {"who has lost the lock settles nothing", who_has_lost_the_lock_settles_nothing},
        {"who stood still has lost the lock", who_stood_still_has_lost_the_lock},
        {"forwarding goes on after the lock was lost", forwarding_goes_on_after_the_lock_was_lost},
        {"a newer schema is left alone", a_newer_schema_is_left_alone},
        {"what the role may not is said", what_the_role_may_not_is_said},
        {"an address that cannot be used is said", an_address_that_cannot_be_used_is_said},
        {"a server that is stopped is waited for, and no longer", a_server_that_is_stopped_is_waited_for_and_no_longer},
        {"a standby alone takes nothing", a_standby_alone_takes_nothing},
        {"a group is marked by the clock of the server", a_group_is_marked_by_the_clock_of_the_server},
        {"an idle writer lets go of its connection", an_idle_writer_lets_go_of_its_connection},
        {"a dump without its sequences is found", a_dump_without_its_sequences_is_found},
        {"backups are its own tools' matter", backups_are_its_own_tools_matter},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue postgresql", begin, end, tests);
}
