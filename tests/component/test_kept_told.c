/* What people were told already is known to all machines that share a database; and so is the secret of the page. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "forward/forward.h"
#include "health/alerts.h"
#include "kept/kept.h"
#include "status/status_private.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_rig.h"

#define NOW ((int64_t)1700000000000)
#define INTERVAL ((int64_t)3600000)
#define PATIENCE_MS 30000

static struct made_config made;
static struct queue_rig_engine engine;
static char directory[PATH_SIZE], states[2][PATH_SIZE];
static struct events none;
static struct config machines[2];
static char *command[] = {(char[]){"/bin/true"}, NULL};
static struct alert_ways ways = {.command = command};

static int begin(void)
{
    log_open(LEVEL_ERROR);
    return queue_rig_set_up(&made, directory, states[0]) != 0 || !queue_rig_postgresql(&engine, &made);
}

static int end(void)
{
    log_open(LEVEL_INFO);
    queue_rig_engine_end(&engine);
    return queue_rig_tear_down(directory, &none);
}

static void begin_case(const char *first, const char *second)
{
    queue_rig_new(&engine, &made);
    for (size_t i = 0; i < 2; i++) {
        const char *name = i == 0 ? first : second;
        CU_ASSERT_TRUE_FATAL(temporary_directory(directory, name));
        path_join(states[i], directory, name);
        machines[i] = made.config;
        machines[i].state_dir = states[i];
    }
}

static struct alerts *open_on(size_t machine)
{
    struct alerts *alerts = alerts_new(&ways, INTERVAL, machines[machine].state_dir);
    CU_ASSERT_PTR_NOT_NULL_FATAL(alerts);
    alerts_share(alerts, &machines[machine]);
    return alerts;
}

/* Claims and looks, as each second. Returns how often was told. */
static size_t look(struct alerts *alerts, const char *name, bool raised, int64_t now_ms)
{
    struct alert_cause cause = {.name = name, .source = "acme", .raised = raised, .brief = "brief"};
    error_set(&cause.words, "words");
    return alerts_claim(alerts) ? alerts_evaluate(alerts, &cause, 1, now_ms) : 0;
}

static void one_machine_tells(void)
{
    begin_case("first", "second");
    struct alerts *first = open_on(0), *second = open_on(1);
    CU_ASSERT_EQUAL(look(first, "events_wait", true, NOW), 1);
    CU_ASSERT_EQUAL(look(second, "events_wait", true, NOW), 0);
    CU_ASSERT_EQUAL(look(second, "events_wait", true, NOW + INTERVAL), 0);
    CU_ASSERT_EQUAL(look(first, "events_wait", true, NOW + INTERVAL), 1);
    CU_ASSERT_EQUAL(look(first, "disk_nearly_full", true, NOW), 1); /* each has a disk of its own */
    CU_ASSERT_EQUAL(look(second, "disk_nearly_full", true, NOW), 1);
    alerts_free(first);
    CU_ASSERT_EQUAL(look(second, "events_wait", true, NOW + INTERVAL + 1), 0); /* it was told of */
    CU_ASSERT_EQUAL(look(second, "events_wait", false, NOW + INTERVAL + 2), 1);
    first = open_on(0);
    CU_ASSERT_EQUAL(look(first, "events_wait", false, NOW + INTERVAL + 3), 0);
    CU_ASSERT_EQUAL(look(first, "disk_nearly_full", false, NOW + 1), 1);
    alerts_free(first);
    alerts_free(second);
}

static void without_the_database_each_tells(void)
{
    begin_case("here", "there");
    struct alerts *first = open_on(0), *second = open_on(1);
    CU_ASSERT_EQUAL(look(first, "events_wait", true, NOW), 1);
    CU_ASSERT_EQUAL(look(second, "events_wait", true, NOW), 0);
    process_stop(&engine.postgresql.server, PATIENCE_MS);
    CU_ASSERT_EQUAL(look(first, "queue_broken", true, NOW + 1), 1);
    CU_ASSERT_EQUAL(look(second, "queue_broken", true, NOW + 1), 1);
    CU_ASSERT_EQUAL(look(first, "events_wait", true, NOW + 2), 0);
    CU_ASSERT_TRUE_FATAL(postgresql_begin(&engine.postgresql));
    size_t told = look(first, "queue_broken", false, NOW + 3);
    told += look(second, "queue_broken", false, NOW + 3);
    CU_ASSERT_EQUAL(told, 1);
    CU_ASSERT_EQUAL(look(first, "events_wait", true, NOW + 4), 0);
    CU_ASSERT_EQUAL(look(second, "events_wait", true, NOW + 4), 0);
    alerts_free(first);
    alerts_free(second);
}

static void a_form_of_one_machine_s_page_may_go_to_another(void)
{
    struct tokens first, second;
    struct error why = {0};
    char token[TOKEN_SIZE];
    begin_case("page", "other");
    tokens_init(&first);
    tokens_init(&second);
    CU_ASSERT_TRUE(tokens_make(&first, &machines[0], NOW, token)); /* nothing is shared yet */
    for (size_t i = 0; i < 2; i++)
        CU_ASSERT_TRUE(kept_catch_up(&machines[i], &why));
    CU_ASSERT_TRUE(tokens_make(&first, &machines[0], NOW, token));
    CU_ASSERT_TRUE(tokens_are_good(&second, &machines[1], NOW, token));
    begin_case("foreign", "stranger");
    CU_ASSERT_TRUE(kept_catch_up(&machines[1], &why));
    tokens_free(&second);
    tokens_init(&second);
    CU_ASSERT_FALSE(tokens_are_good(&second, &machines[1], NOW, token)); /* another database has another one */
    tokens_free(&first);
    tokens_free(&second);
}

/* Whoever asks that what waits be tried now may be on another machine than who forwards. */
static void what_shall_be_tried_is_known_to_all(void)
{
    struct error why = {0};
    struct stat file;
    char path[PATH_SIZE];
    begin_case("asks", "forwards");
    for (size_t i = 0; i < 2; i++)
        CU_ASSERT_TRUE(kept_catch_up(&machines[i], &why));
    path_join(path, states[1], "told/mended");
    CU_ASSERT_EQUAL(stat(path, &file), -1);
    int64_t failed_ms = clock_unix_ms();
    CU_ASSERT_TRUE(forward_mended(&machines[0], NULL));
    struct kept *other = kept_open(&machines[1], &why);
    CU_ASSERT_TRUE(kept_look(other, &why));
    kept_close(other);
    CU_ASSERT_EQUAL(stat(path, &file), 0);
    CU_ASSERT(clock_timespec_ms(file.st_mtim) >= failed_ms);
}

void suite_kept_told(void)
{
    static CU_TestInfo tests[] = {
        {"one machine tells", one_machine_tells},
        {"without the database each tells", without_the_database_each_tells},
        {"what shall be tried is known to all", what_shall_be_tried_is_known_to_all},
        {"a form of one machine's page may go to another", a_form_of_one_machine_s_page_may_go_to_another},
        CU_TEST_INFO_NULL,
    };
    suite_add("kept told", begin, end, tests);
}
