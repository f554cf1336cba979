/* What an operator sees when the configuration names another queue than before. */
#include <stdio.h>
#include <string.h>

#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/commands_made.h"
#include "tests/support/commands_run.h"
#include "tests/support/queue_rig.h"

#define SOURCES                                                                                                        \
    "data_plane_url = http://127.0.0.1:9\n"                                                                            \
    "[source one]\nwrite_key = 1234567890abcdefghijklmnopq\n"                                                          \
    "[source two]\nwrite_key = 2234567890abcdefghijklmnopq\n"

static struct ran ran;
static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE], event[512];
static struct queue_rig_engine engine;
static struct events found;

static int begin(void)
{
    bool good = queue_rig_set_up(&made, directory, state) == 0;
    path_join(state, directory, "state");
    made.config.queue = QUEUE_POSTGRESQL;
    made.config.queue_url = engine.url;
    return !(good && postgresql_start(&engine.postgresql, ""));
}

static int end(void)
{
    queue_rig_engine_end(&engine);
    return queue_rig_tear_down(directory, &found);
}

#define SAYS(text) check(strstr(ran.err, text) != NULL, "\"%s\" is said: %s", text, ran.err)
#define SHOWS(text) check(strstr(ran.out, text) != NULL, "\"%s\" is shown: %s", text, ran.out)
#define NOT_USED "  this state directory has worked with a queue in PostgreSQL, database "
#define HIDES(text) check(strstr(ran.out, text) == NULL, "\"%s\" is not shown: %s", text, ran.out)

static void configure_queue(const char *queue)
{
    char text[2 * POSTGRESQL_URL + 600];
    snprintf(text, sizeof text, "queue = %s\nqueue_url = %s\n" SOURCES, queue, engine.url);
    made_configure(text);
}

static void configure_two(const char *second)
{
    char text[2 * POSTGRESQL_URL + 600];
    snprintf(text, sizeof text, "queue = postgresql\nqueue_url = %s\n" SOURCES "queue_url = %s\n", engine.url, second);
    made_configure(text);
}

/* Before the program has started with it. */
static void a_database_that_was_moved_to_is_known_at_once(void)
{
    char first[POSTGRESQL_URL];
    queue_rig_new(&engine, &made);
    made_begin();
    configure_queue("sqlite");
    made_append("one", made_event(event, "lead", "updated", "ev_1", "lead_1"));
    RUN(&ran, NULL, "queue", "migrate", "--to", "postgresql");
    CU_ASSERT_EQUAL(ran.code, 0);
    configure_queue("none");
    RUN(&ran, NULL, "check");
    SHOWS(NOT_USED);
    RUN(&ran, NULL, "cron");
    SAYS("this state directory has worked with a queue in PostgreSQL");
    snprintf(first, sizeof first, "%s", engine.url);
    queue_rig_new(&engine, &made);
    configure_queue("postgresql");
    RUN(&ran, NULL, "check");
    SHOWS("this is not the database that this state directory has worked with");
    configure_queue("sqlite");
    RUN(&ran, NULL, "queue", "migrate", "--to", "sqlite");
    SAYS("this is not the database that this state directory has worked with");
    snprintf(engine.url, sizeof engine.url, "%s", first);
    configure_queue("sqlite");
    RUN(&ran, NULL, "queue", "migrate", "--to", "sqlite");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_EQUAL(made_counts("one").waiting, 1);
    made_end();
}

static void cron_tells_with_queue_none_too(void)
{
    made_begin();
    configure_queue("sqlite");
    made_append("one", made_event(event, "lead", "updated", "ev_1", "lead_1"));
    configure_queue("none");
    RUN(&ran, NULL, "cron");
    CU_ASSERT_EQUAL(ran.code, 1);
    SAYS("1 event waits in queue.db in ");
    configure_queue("sqlite");
    CU_ASSERT_EQUAL(made_counts("one").waiting, 1);
    made_end();
}

static void a_database_that_was_left_is_told_until_it_is_settled(void)
{
    queue_rig_new(&engine, &made);
    made_begin();
    configure_queue("postgresql");
    made_append("one", made_event(event, "lead", "updated", "ev_1", "lead_1"));
    RUN(&ran, NULL, "check");
    HIDES(NOT_USED);
    static const char *const others[] = {"none", "sqlite"};
    for (size_t i = 0; i < 2; i++) {
        configure_queue(others[i]);
        RUN(&ran, NULL, "check");
        SHOWS(NOT_USED);
        RUN(&ran, NULL, "check", "--offline");
        SHOWS(NOT_USED);
    }
    RUN(&ran, NULL, "cron");
    SAYS("this state directory has worked with a queue in PostgreSQL");
    RUN(&ran, NULL, "queue", "status");
    SHOWS("this state directory has worked with a queue in PostgreSQL");
    RUN(&ran, NULL, "queue", "migrate", "--to", "sqlite");
    CU_ASSERT_EQUAL(ran.code, 0);
    RUN(&ran, NULL, "check");
    HIDES(NOT_USED);
    CU_ASSERT_EQUAL(made_counts("one").waiting, 1);
    made_end();
}

static void a_database_that_others_forward_is_given_up(void)
{
    static const char *const others[] = {"none", "sqlite"};
    for (size_t i = 0; i < 2; i++) {
        queue_rig_new(&engine, &made);
        made_begin();
        configure_queue("postgresql");
        made_append("one", made_event(event, "lead", "updated", "ev_1", "lead_1"));
        configure_queue(others[i]);
        RUN(&ran, NULL, "queue", "adopt");
        CU_ASSERT_EQUAL(ran.code, 0);
        SHOWS("is not this state directory's any more");
        RUN(&ran, NULL, "check");
        HIDES(NOT_USED);
        RUN(&ran, NULL, "queue", "adopt");
        CU_ASSERT_EQUAL(ran.code, 1);
        SAYS("nothing is to be done");
        made_end();
    }
}

/* A source's own, which has no name by which it would be missed. */
static void a_database_of_a_source_that_was_left_is_told(void)
{
    struct postgresql other = {.databases = 0};
    char second[POSTGRESQL_URL];
    queue_rig_new(&engine, &made);
    CU_ASSERT_TRUE_FATAL(postgresql_start(&other, ""));
    made_begin();
    if (postgresql_database(&other, second)) {
        configure_two(second);
        made_append("two", made_event(event, "lead", "updated", "ev_1", "lead_1"));
        made_append("one", made_event(event, "lead", "updated", "ev_1", "lead_1"));
        RUN(&ran, NULL, "check");
        HIDES(NOT_USED);
        configure_two(engine.url);
        RUN(&ran, NULL, "check");
        SHOWS(NOT_USED);
        RUN(&ran, NULL, "queue", "adopt");
        SHOWS("is not this state directory's any more");
        SHOWS("was this state directory's before, and is from now on");
        RUN(&ran, NULL, "check");
        HIDES(NOT_USED);
    }
    made_end();
    postgresql_stop(&other);
}

static void dead_letters_that_were_left_in_a_file_are_told(void)
{
    queue_rig_new(&engine, &made);
    made_begin();
    configure_queue("sqlite");
    made_settle("one", made_event(event, "lead", "updated", "ev_1", "lead_1"), "the data plane answered 400");
    configure_queue("none");
    RUN(&ran, NULL, "check");
    CU_ASSERT_EQUAL(ran.code, 1);
    SHOWS("  WRONG: 1 dead letter is kept in queue.db in ");
    configure_queue("postgresql");
    made_append("one", made_event(event, "lead", "updated", "ev_1", "lead_1"));
    RUN(&ran, NULL, "check");
    CU_ASSERT_EQUAL(ran.code, 1);
    SHOWS("  WRONG: 1 dead letter is kept in queue.db in ");
    RUN(&ran, NULL, "cron");
    SAYS("1 dead letter is kept in queue.db in ");
    RUN(&ran, NULL, "queue", "migrate", "--to", "postgresql");
    CU_ASSERT_EQUAL(ran.code, 0);
    RUN(&ran, NULL, "check");
    HIDES("in queue.db");
    CU_ASSERT_EQUAL(made_counts("one").dead, 1);
    made_end();
}

void suite_commands_left(void)
{
    static CU_TestInfo tests[] = {
        {"a database that was moved to is known at once", a_database_that_was_moved_to_is_known_at_once},
        {"cron tells with queue = none, too", cron_tells_with_queue_none_too},
        {"a database that was left is told until it is settled", a_database_that_was_left_is_told_until_it_is_settled},
        {"a database that others forward is given up", a_database_that_others_forward_is_given_up},
        {"a database of a source that was left is told", a_database_of_a_source_that_was_left_is_told},
        {"dead letters that were left in a file are told", dead_letters_that_were_left_in_a_file_are_told},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: left", begin, end, tests);
}
