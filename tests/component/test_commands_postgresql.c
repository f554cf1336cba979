/* What an operator of `queue = postgresql` sees: addresses are judged when the configuration is read, and tried before
 * the program has ever run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/internal.h"
#include "health/facts.h"
#ifdef CLOSECRM_POSTGRESQL
#include "queue/postgresql/libpq.h"
#endif
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/commands_made.h"
#include "tests/support/commands_run.h"
#include "tests/support/queue_rig.h"

#define PATIENCE_MS 60000

#define SOURCES                                                                                                        \
    "data_plane_url = file:///dev/null\n"                                                                              \
    "[source one]\nwrite_key = 1234567890abcdefghijklmnopq\n"                                                          \
    "[source two]\nwrite_key = 2234567890abcdefghijklmnopq\n"

static struct ran ran;
static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct queue_rig_engine engine;
static char address[32]; /* of the loopback network, and nobody else's */
static struct events found;

static int begin(void)
{
    char settings[64];
    bool good = queue_rig_set_up(&made, directory, state) == 0;
    path_join(state, directory, "state");
    snprintf(address, sizeof address, "127.94.%d.%d", (int)getpid() / 250 % 250 + 1, (int)getpid() % 250 + 1);
    snprintf(settings, sizeof settings, "listen_addresses = '%s'\n", address);
    made.config.queue = QUEUE_POSTGRESQL;
    made.config.queue_url = engine.url;
    return !(good && postgresql_start(&engine.postgresql, settings));
}

static int end(void)
{
    queue_rig_engine_end(&engine);
    return queue_rig_tear_down(directory, &found);
}

static void configure(const char *url)
{
    char text[POSTGRESQL_URL + 400];
    snprintf(text, sizeof text, "queue = postgresql\nqueue_url = %s\n" SOURCES, url);
    configuration_use(text);
}

/* ---- addresses ---- */

#ifdef CLOSECRM_POSTGRESQL

/* Whether a configuration takes it. */
static bool is_taken(const char *url, struct error *why)
{
    bool from_file;
    *why = (struct error){.text = ""};
    return value_is_good(keys_find("queue_url", &from_file), url, why);
}

static bool libpq_takes(const char *url)
{
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    PQconninfoFree(options);
    return options != NULL;
}

/* An address is judged without libpq, whose grammar it is. */
static void the_configuration_and_libpq_judge_alike(void)
{
    static const char *const good[] = {
        "postgresql://u:p@h/d",
        "postgres://u@g:5433,h,[::1]:5434/d?sslmode=require&connect_timeout=9",
        "postgresql://u:%40%2F%3F%23%25@h:/d%20d",
        "postgresql:///d?user=u&host=%2Frun,/tmp&port=1,65535",
        "postgresql://u@/d?hostaddr=127.0.0.1",
        "postgresql://u@h/d?ssl=true&",
        "postgresql://u@h/d?",
    };
    static const char *const bad[] = {
        "postgresql://u@h/d?sslmode",
        "postgresql://u@h/d?sslmod=require",
        "postgresql://u@h/d?a=b=c",
        "postgresql://u:%zz@h/d",
        "postgresql://u:%00@h/d",
        "postgresql://u@[::1/d",
        "postgresql://u@[]/d",
        "postgresql://u@[::1]x/d",
        "mysql://u@h/d",
    };
    struct error why;
    char url[120];
    CU_ASSERT_TRUE_FATAL(libpq_load(&why));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        check(is_taken(good[i], &why) && libpq_takes(good[i]), "%s is taken: %s", good[i], why.text);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check(!is_taken(bad[i], &why) && !libpq_takes(bad[i]), "%s is refused", bad[i]);
    PQconninfoOption *options = PQconninfoParse("postgresql://", NULL);
    for (const PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++) {
        snprintf(url, sizeof url, "postgresql://u@h/d?%.60s=", option->keyword);
        check(is_taken(url, &why) || strstr(why.text, "does not know") == NULL, "%s is known: %s", url, why.text);
    }
    PQconninfoFree(options);
}

#else

static void the_configuration_and_libpq_judge_alike(void)
{
}

#endif

/* ---- before the program has ever run ---- */

static bool has_state(void)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%.*s/state",
             (int)(strrchr(getenv("CLOSECRM_CONFIG"), '/') - getenv("CLOSECRM_CONFIG")), getenv("CLOSECRM_CONFIG"));
    return access(path, F_OK) == 0;
}

/* Both commands say it, and neither makes anything on this machine. */
static void is_told(const char *url, const char *words)
{
    configure(url);
    RUN(&ran, NULL, "check");
    check(ran.code == 1 && strstr(ran.out, words) != NULL && strstr(ran.out, "WRONG: the queue") != NULL,
          "check says \"%s\": %d, %s", words, ran.code, ran.out);
    CU_ASSERT_PTR_NULL(strstr(ran.out, "s3cr3t"));
    RUN(&ran, NULL, "queue", "status");
    check(ran.code == 4 && strstr(ran.err, words) != NULL, "queue status says \"%s\": %d, %s", words, ran.code,
          ran.err);
    CU_ASSERT_PTR_NULL(strstr(ran.err, "s3cr3t"));
    CU_ASSERT_FALSE(has_state());
    configuration_forget();
}

/* With another user, host or database: what stands before and behind "@/queue_N" of the test's own. */
static void is_told_as(const char *user, const char *words)
{
    char url[POSTGRESQL_URL];
    const char *at = strstr(engine.url, "@/queue_");
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    snprintf(url, sizeof url, "postgresql://%s%s", user, at);
    is_told(url, words);
}

static bool has_tables(void)
{
    return strcmp(postgresql_ask(engine.url, "SELECT to_regnamespace('closecrm') IS NULL"), "t") != 0;
}

static void a_queue_url_that_cannot_be_used_is_told_on_a_new_machine(void)
{
    char url[POSTGRESQL_URL];
    queue_rig_new(&engine, &made);
    postgresql_ask(engine.url, "CREATE ROLE secret LOGIN PASSWORD 'right'");
    postgresql_ask(engine.url, "CREATE ROLE nothing LOGIN");
    is_told_as("secret:s3cr3t", "password authentication failed for user \"secret\"");
    is_told_as("nothing", "the tables of the queue cannot be made: the database says: permission denied");
    snprintf(url, sizeof url, "postgresql://tests@/nowhere?host=%s", engine.postgresql.directory);
    is_told(url, "database \"nowhere\" does not exist");
    is_told("postgresql://tests:s3cr3t@/queue?host=/nowhere", "No such file or directory");
    is_told("postgresql://tests:s3cr3t@127.0.0.1:1/queue", "Connection refused");
    snprintf(url, sizeof url, "postgresql://tests:s3cr3t@%s/queue", address);
    is_told(url, "its server has no TLS, which queue_url asks for");
    CU_ASSERT_FALSE(has_tables());
}

static void a_pooler_is_told_on_a_new_machine(void)
{
    char url[POSTGRESQL_URL], place[PATH_SIZE];
    struct process pooler;
    queue_rig_new(&engine, &made);
    CU_ASSERT_TRUE_FATAL(temporary_make(place));
    if (postgresql_pooler(&engine.postgresql, place, "ignore_startup_parameters = options, extra_float_digits",
                          &pooler)) {
        const char *name = strstr(engine.url, "queue_");
        snprintf(url, sizeof url, "postgresql://tests@/%.*s?host=%s&port=6432", (int)strcspn(name, "?"), name, place);
        is_told(url, "queue_url leads to a pooler (PgBouncer)");
        process_stop(&pooler, PATIENCE_MS);
    } else
        printf("(skipped: no PgBouncer) ");
    temporary_remove(place);
    CU_ASSERT_FALSE(has_tables());
}

static void a_queue_that_cannot_be_used_is_told_on_a_new_machine(void)
{
    char data[PATH_SIZE], signal[PATH_SIZE];
    queue_rig_new(&engine, &made);
    struct queue *queue = queue_rig_open(&made);
    queue_rig_append(queue, "one", "x");
    queue_close(queue);
    postgresql_ask(engine.url, "UPDATE closecrm.meta SET version = 99");
    is_told(engine.url, "the queue in the database has version 99, made by a newer release");
    process_stop(&engine.postgresql.server, PATIENCE_MS);
    path_join(data, engine.postgresql.directory, "data");
    path_join(signal, data, "standby.signal");
    CU_ASSERT_TRUE(temporary_write(data, "standby.signal", 0644, "", 0));
    CU_ASSERT_TRUE(postgresql_begin(&engine.postgresql));
    is_told(engine.url, "session is read-only");
    process_stop(&engine.postgresql.server, PATIENCE_MS);
    unlink(signal);
    CU_ASSERT_TRUE(postgresql_begin(&engine.postgresql));
}

/* What `check` makes it takes back. */
static void a_database_that_can_be_used_is_left_as_it_is(void)
{
    queue_rig_new(&engine, &made);
    configure(engine.url);
    RUN(&ran, NULL, "check");
    check(strstr(ran.out, "  database: PostgreSQL ") != NULL && strstr(ran.out, "  queue: none yet") != NULL &&
              strstr(ran.out, "WRONG") == NULL && ran.code == 0,
          "it is described: %d, %s", ran.code, ran.out);
    RUN(&ran, NULL, "queue", "status");
    check(ran.code == 4 && strstr(ran.err, "there is no state directory") != NULL, "%d, %s", ran.code, ran.err);
    CU_ASSERT_FALSE(has_state());
    CU_ASSERT_FALSE(has_tables());
    configuration_forget();
}

/* One of two servers is there. */
static void each_server_is_tried(void)
{
    char text[POSTGRESQL_URL + 400];
    queue_rig_new(&engine, &made);
    snprintf(text, sizeof text,
             "queue = postgresql\nqueue_url = %s\n" SOURCES "queue_url = postgresql://tests@/q?host=/nowhere\n",
             engine.url);
    configuration_use(text);
    RUN(&ran, NULL, "check");
    check(ran.code == 1 && strstr(ran.out, "source two: the database of queue_url cannot be used: ") != NULL &&
              strstr(ran.out, "(of source one)") != NULL,
          "%d, %s", ran.code, ran.out);
    check(strstr(ran.out, "WRONG: source two: nothing is let in") != NULL, "%s", ran.out);
    CU_ASSERT_FALSE(has_tables());
    configuration_forget();
}

/* ---- sources in databases of their own ---- */

static char event[512];

static void configure_two(const char *second)
{
    char text[2 * POSTGRESQL_URL + 400];
    snprintf(text, sizeof text, "queue = postgresql\nqueue_url = %s\n" SOURCES "queue_url = %s\n", engine.url, second);
    made_configure(text);
}

static void dies(const char *source, const char *id)
{
    made_settle(source, made_event(event, "lead", "updated", id, "lead_1"), "no");
}

/* Runs cron, which has not told of anything within its interval. */
static void run_cron(void)
{
    char path[PATH_SIZE];
    path_join(path, made_state(), "cron-told.1");
    unlink(path);
    RUN(&ran, NULL, "cron", "--seconds", "1");
}

/* Ids of one database say nothing of another's. */
static void dead_letters_of_each_database_are_mailed(void)
{
    char second[POSTGRESQL_URL];
    queue_rig_new(&engine, &made);
    CU_ASSERT_TRUE_FATAL(postgresql_database(&engine.postgresql, second));
    made_begin();
    configure_two(second);
    dies("two", "ev_1");
    run_cron();
    check(strstr(ran.err, "cron: 1 new dead letter, the last of source two") != NULL, "%s", ran.err);
    dies("one", "ev_2");
    run_cron();
    check(strstr(ran.err, "cron: 1 new dead letter, the last of source one") != NULL, "%s", ran.err);
    run_cron();
    check(strstr(ran.err, "new dead letter") == NULL, "%s", ran.err);
    dies("two", "ev_3");
    dies("one", "ev_4");
    run_cron();
    check(strstr(ran.err, "cron: 2 new dead letters, the last of source one") != NULL, "%s", ran.err);
    made_end();
}

/* ---- machines ---- */

#define MACHINE                                                                                                        \
    "data_plane_url = http://127.0.0.1:9\n"                                                                            \
    "[source one]\nwrite_key = 1234567890abcdefghijklmnopq\nkeep = lead.*\nkeep = task.*\n"

static void configure_machine(const char *sources)
{
    char text[POSTGRESQL_URL + 600];
    snprintf(text, sizeof text, "queue = postgresql\nqueue_url = %s\n%s", engine.url, sources);
    made_configure(text);
}

/* What a machine notes when its program starts. */
static void note_as(const char *name, const char *sources)
{
    struct error why = {0};
    configure_machine(sources);
    static char *const nothing[] = {NULL};
    struct config *config = config_read(getenv("CLOSECRM_CONFIG"), nothing, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_TRUE(configs_note(config, name));
    config_free(config);
}

static void configurations_that_differ_are_told(void)
{
    queue_rig_new(&engine, &made);
    made_begin();
    configure_machine(MACHINE);
    made_close(made_open());
    made_append("one", made_event(event, "lead", "updated", "ev_1", "lead_1"));
    note_as("web1", MACHINE);
    note_as("web2", "data_plane_url = http://127.0.0.1:9\n[source one]\nwrite_key = 1234567890abcdefghijklmnopq\n"
                    "keep = lead.* task.*\n"); /* the same in other words */
    configure_machine(MACHINE);
    RUN(&ran, NULL, "check");
    check(strstr(ran.out, "another configuration") == NULL, "they are alike: %s", ran.out);
    note_as("web2", "data_plane_url = http://127.0.0.1:8\n[source one]\nwrite_key = s3cr3t7890abcdefghijklmnopq\n"
                    "keep = lead.*\n[source three]\nwrite_key = 3334567890abcdefghijklmnopq\n");
    configure_machine(MACHINE);
    RUN(&ran, NULL, "check");
    check(strstr(ran.out, "machine web2 has another configuration than this one (as of 20") != NULL &&
              strstr(ran.out, "one: data_plane_url") != NULL && strstr(ran.out, "one: write_key") != NULL &&
              strstr(ran.out, "one: keep") != NULL && strstr(ran.out, "three") != NULL &&
              strstr(ran.out, "machine web1") == NULL,
          "it says which keys: %s", ran.out);
    CU_ASSERT_STRING_EQUAL(postgresql_ask(engine.url,
                                          "SELECT count(*) FROM closecrm.kept WHERE path LIKE "
                                          "'told/config-%' AND position('\\x733363723374'::bytea IN value) = 0"),
                           "2");
    made_end();
}

#define SAYS(text) check(strstr(ran.err, text) != NULL, "\"%s\" is said: %s", text, ran.err)
#define SHOWS(text) check(strstr(ran.out, text) != NULL, "\"%s\" is shown: %s", text, ran.out)

/* What commands say of all while one of two servers is away. */
static void see_the_rest(void)
{
    RUN(&ran, NULL, "dead", "list");
    CU_ASSERT_EQUAL(ran.code, 1);
    SHOWS("ev_dead_one");
    SAYS("dead list: not looked into: source two: the database of queue_url cannot be used: ");
    RUN(&ran, NULL, "dead", "list", "--source", "two");
    CU_ASSERT_EQUAL(ran.code, 1);
    SAYS("source two: the database of queue_url cannot be used: ");
    RUN(&ran, NULL, "dead", "show", "1000000000001");
    CU_ASSERT_EQUAL(ran.code, 1);
    SAYS("dead show: not looked into: source two");
    RUN(&ran, NULL, "queue", "list", "--json");
    CU_ASSERT_EQUAL(ran.code, 1);
    SHOWS("ev_waits_one");
    SAYS("queue list: not looked into: source two");
    RUN(&ran, NULL, "queue", "show", "99");
    CU_ASSERT_EQUAL(ran.code, 1);
    SAYS("not looked into: source two");
    RUN(&ran, NULL, "queue", "status");
    CU_ASSERT_EQUAL(ran.code, 1);
    SHOWS("  dead letters    1\n");
    SHOWS("source two\n  not looked into the database of queue_url cannot be used: ");
    SAYS("queue status: not looked into: source two: ");
    RUN(&ran, NULL, "queue", "status", "--json");
    CU_ASSERT_EQUAL(ran.code, 1);
    SHOWS("\"two\":{\"not_looked_into\":\"the database");
    RUN(&ran, NULL, "queue", "status", "--source", "one");
    CU_ASSERT_EQUAL(ran.code, 0);
    RUN(&ran, NULL, "dead", "replay", "--all");
    CU_ASSERT_EQUAL(ran.code, 1);
    SHOWS("1 dead letter replayed");
    SAYS("dead replay: not looked into: source two");
    RUN(&ran, NULL, "forget", "--lead", "lead_1", "--yes");
    CU_ASSERT_EQUAL(ran.code, 1);
    SAYS("forget: not looked into: source two");
    RUN(&ran, NULL, "queue", "retry");
    CU_ASSERT_EQUAL(ran.code, 1);
    SAYS("queue retry: not looked into: source two: the database of queue_url cannot be used: ");
    RUN(&ran, NULL, "queue", "retry", "--source", "two");
    CU_ASSERT_EQUAL(ran.code, 1);
    SAYS("source two: the database of queue_url cannot be used: ");
    RUN(&ran, NULL, "queue", "retry", "--source", "one");
    CU_ASSERT_EQUAL(ran.code, 0);
    RUN(&ran, NULL, "dead", "list", "--source", "one");
    CU_ASSERT_EQUAL(ran.code, 0);
    RUN(&ran, NULL, "dead", "drop", "--source", "one", "--all", "--yes");
    check(ran.code == 0, "its own database works: %s%s", ran.out, ran.err);
    RUN(&ran, NULL, "dead", "drop", "--source", "two", "--all", "--yes");
    CU_ASSERT_EQUAL(ran.code, 1);
    RUN(&ran, NULL, "queue", "check");
    CU_ASSERT_EQUAL(ran.code, 1);
    SAYS("queue check: source one: has faults; source two: the database of queue_url cannot be used: "); /* no fsync */
    run_cron();
    SAYS("source two has a queue that cannot be used: the database of queue_url");
}

/* Of the database of the whole, where what all machines are told is, too. */
static void see_the_rest_without_the_first(void)
{
    RUN(&ran, NULL, "queue", "retry", "--source", "two");
    CU_ASSERT_EQUAL(ran.code, 1);
    SAYS("that it shall be now could not be noted: the database of queue_url cannot be used: ");
    run_cron();
    SAYS("source one has a queue that cannot be used: the database of queue_url");
    RUN(&ran, NULL, "check");
    check(strstr(ran.out, "?.") == NULL && strstr(ran.err, "?.") == NULL, "%s%s", ran.out, ran.err);
}

static void what_can_be_seen_is_shown_while_a_server_is_away(void)
{
    struct postgresql other = {.databases = 0};
    char second[POSTGRESQL_URL];
    queue_rig_new(&engine, &made);
    CU_ASSERT_TRUE_FATAL(postgresql_start(&other, ""));
    made_begin();
    if (postgresql_database(&other, second)) {
        configure_two(second);
        dies("one", "ev_dead_one");
        dies("two", "ev_dead_two");
        made_append("one", made_event(event, "lead", "updated", "ev_waits_one", "lead_1"));
        process_stop(&other.server, PATIENCE_MS);
        see_the_rest();
        char first[POSTGRESQL_URL];
        snprintf(first, sizeof first, "%s", engine.url);
        CU_ASSERT_TRUE_FATAL(postgresql_begin(&other));
        snprintf(engine.url, sizeof engine.url, "postgresql://u@/d?host=%s", directory); /* no such socket */
        configure_two(second);
        see_the_rest_without_the_first();
        snprintf(engine.url, sizeof engine.url, "%s", first);
    }
    made_end();
    postgresql_stop(&other);
}

void suite_commands_postgresql(void)
{
    static CU_TestInfo tests[] = {
        {"the configuration and libpq judge alike", the_configuration_and_libpq_judge_alike},
        {"a queue_url that cannot be used is told on a new machine",
         a_queue_url_that_cannot_be_used_is_told_on_a_new_machine},
        {"a pooler is told on a new machine", a_pooler_is_told_on_a_new_machine},
        {"a queue that cannot be used is told on a new machine", a_queue_that_cannot_be_used_is_told_on_a_new_machine},
        {"a database that can be used is left as it is", a_database_that_can_be_used_is_left_as_it_is},
        {"each server is tried", each_server_is_tried},
        {"dead letters of each database are mailed", dead_letters_of_each_database_are_mailed},
        {"configurations that differ are told", configurations_that_differ_are_told},
        {"what can be seen is shown while a server is away", what_can_be_seen_is_shown_while_a_server_is_away},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: postgresql", begin, end, tests);
}
