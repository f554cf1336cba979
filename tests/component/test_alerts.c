/* Alerts: told once when a cause appears, again after the interval, once when it is gone; whatever processes look. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "health/alerts.h"
#include "tests/suites.h"
#include "tests/support/temporary.h"

#define NOW ((int64_t)1700000000000)
#define INTERVAL ((int64_t)3600000)

static char directory[PATH_SIZE], script[PATH_SIZE], told_path[PATH_SIZE];
static char first_argument[] = "first argument; $(not a shell)";
static char *command[] = {script, told_path, first_argument, NULL};
static struct alert_ways ways = {.command = command};

static int make_directory(void)
{
    static const char text[] = "#!/bin/sh\n{ cat; echo \"arguments: $#, $2\"; env; } >>\"$1\"\n";
    static const char failing[] = "#!/bin/sh\nexit 3\n";
    log_open(LEVEL_ERROR);
    if (!temporary_make(directory))
        return 1;
    path_join(script, directory, "tell");
    path_join(told_path, directory, "told");
    return !temporary_write(directory, "tell", 0755, text, sizeof text - 1) ||
           !temporary_write(directory, "fail", 0755, failing, sizeof failing - 1);
}

static int remove_directory(void)
{
    log_open(LEVEL_INFO);
    temporary_remove(directory);
    return 0;
}

static struct alert_cause cause_of(bool raised)
{
    struct alert_cause cause = {
        .name = "data_plane_refuses", .source = "acme", .raised = raised, .brief = "the data plane refuses"};
    error_set(&cause.words, "it answered 401 \"no\"");
    return cause;
}

/* A folder of the test's own. */
static struct alerts *open_in(const char *name)
{
    static char path[PATH_SIZE];
    path_join(path, directory, name);
    mkdir(path, 0700);
    struct alerts *alerts = alerts_new(&ways, INTERVAL, path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(alerts);
    return alerts;
}

static size_t look(struct alerts *alerts, bool raised, int64_t now_ms)
{
    struct alert_cause cause = cause_of(raised);
    return alerts_evaluate(alerts, &cause, 1, now_ms);
}

static void test_told_once_and_when_it_is_gone(void)
{
    struct alerts *alerts = open_in("once");
    CU_ASSERT_TRUE(alerts_claim(alerts));
    CU_ASSERT_EQUAL(look(alerts, false, NOW), 0);
    CU_ASSERT_EQUAL(look(alerts, true, NOW), 1);
    CU_ASSERT_EQUAL(look(alerts, true, NOW + 1000), 0);
    CU_ASSERT_EQUAL(look(alerts, true, NOW + INTERVAL - 1), 0);
    CU_ASSERT_EQUAL(look(alerts, true, NOW + INTERVAL), 1);
    CU_ASSERT_EQUAL(look(alerts, false, NOW + INTERVAL + 1), 1);
    CU_ASSERT_EQUAL(look(alerts, false, NOW + INTERVAL + 2), 0);
    alerts_free(alerts);
}

static void test_one_that_comes_and_goes_is_told_once_an_interval(void)
{
    struct alerts *alerts = open_in("flapping");
    CU_ASSERT_TRUE(alerts_claim(alerts));
    CU_ASSERT_EQUAL(look(alerts, true, NOW), 1);
    CU_ASSERT_EQUAL(look(alerts, false, NOW + 1), 1);
    for (int i = 2; i < 50; i++)
        CU_ASSERT_EQUAL(look(alerts, i % 2 == 0, NOW + i), 0);
    CU_ASSERT_EQUAL(look(alerts, true, NOW + INTERVAL), 1);
    CU_ASSERT_EQUAL(look(alerts, false, NOW + INTERVAL + 1), 1);
    alerts_free(alerts);
}

static void test_another_process_goes_on_where_the_first_ended(void)
{
    struct alerts *first = open_in("agreed");
    CU_ASSERT_TRUE(alerts_claim(first));
    CU_ASSERT_EQUAL(look(first, true, NOW), 1);
    pid_t child = fork();
    if (child == 0)
        _exit(alerts_claim(open_in("agreed")) ? 1 : 0); /* while the first one lives, no other looks */
    int status = -1;
    waitpid(child, &status, 0);
    CU_ASSERT_EQUAL(status, 0);
    alerts_free(first);
    struct alerts *second = open_in("agreed");
    CU_ASSERT_TRUE(alerts_claim(second));
    CU_ASSERT_EQUAL(look(second, true, NOW + 1), 0);
    CU_ASSERT_EQUAL(look(second, false, NOW + 2), 1);
    alerts_free(second);
}

static void test_causes_do_not_mix(void)
{
    struct alert_cause causes[] = {cause_of(true), cause_of(true), cause_of(true)};
    causes[1].source = "other";
    causes[2].name = "silence";
    struct alerts *alerts = open_in("mix");
    CU_ASSERT_TRUE(alerts_claim(alerts));
    CU_ASSERT_EQUAL(alerts_evaluate(alerts, causes, 3, NOW), 3);
    causes[1].raised = false;
    CU_ASSERT_EQUAL(alerts_evaluate(alerts, causes, 3, NOW + 1), 1);
    alerts_free(alerts);
}

static void test_what_the_command_gets(void)
{
    struct error why = {0};
    struct alert alert = {
        "data_plane_refuses", "acme", ALERT_RAISED, "it answered \"no\"\n", "it refuses", 12, 3, NOW, NOW + 1000};
    setenv("CLOSECRM_SECRET_OF_THE_TEST", "leaked", 1);
    unlink(told_path);
    CU_ASSERT_TRUE(alert_command_run(command, &alert, NULL, &why));
    unsetenv("CLOSECRM_SECRET_OF_THE_TEST");
    CU_ASSERT_STRING_EQUAL(why.text, "");
    char *told = temporary_read(directory, "told");
    CU_ASSERT_PTR_NOT_NULL_FATAL(told);
    static const char start[] =
        "{\"cause\": \"data_plane_refuses\", \"state\": \"raised\", \"source\": \"acme\", \"words\": "
        "\"it answered \\\"no\\\"\\n\", \"waiting\": 12, \"dead_letters\": 3, \"since\": \"2023-11-14T22:13:20Z\", "
        "\"time\": \"2023-11-14T22:13:21Z\", \"host\": \"";
    CU_ASSERT_NSTRING_EQUAL(told, start, sizeof start - 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(told, ": source acme: it refuses (waiting: 12, dead letters: 3)\"}\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(told, "arguments: 2, first argument; $(not a shell)\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(told, "\nPATH="));
    CU_ASSERT_PTR_NULL(strstr(told, "leaked"));
    CU_ASSERT_PTR_NULL(strstr(told, "HOME="));
    free(told);
}

/* All texts as long as they come, each byte of the words escaped. */
static void test_the_longest_alert_is_told(void)
{
    struct error why = {0}, words = {0};
    char source[72] = "", brief[100] = "";
    memset(words.text, 1, sizeof words.text - 1);
    memset(source, 's', sizeof source - 1);
    memset(brief, 'b', sizeof brief - 1);
    struct alert alert = {"subscription_paused", source,         ALERT_RAISED, words.text, brief,
                          UINT64_MAX / 2,        UINT64_MAX / 2, NOW,          NOW};
    unlink(told_path);
    CU_ASSERT_TRUE(alert_command_run(command, &alert, NULL, &why));
    CU_ASSERT_STRING_EQUAL(why.text, "");
    char *told = temporary_read(directory, "told");
    CU_ASSERT_PTR_NOT_NULL_FATAL(told);
    CU_ASSERT_PTR_NOT_NULL(strstr(told, "dead letters: 9223372036854775807)\"}\n"));
    free(told);
}

static void test_a_command_that_fails(void)
{
    struct error why = {0};
    char path[PATH_SIZE];
    char *failing[] = {path, NULL};
    struct alert alert = {"silence", "", ALERT_GONE, "", "", 0, 0, NOW, NOW};
    path_join(path, directory, "fail");
    CU_ASSERT_FALSE(alert_command_run(failing, &alert, NULL, &why));
    CU_ASSERT_STRING_EQUAL(why.text, "it ended with 3");
    path_join(path, directory, "nothing");
    CU_ASSERT_FALSE(alert_command_run(failing, &alert, NULL, &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "No such file or directory"));
}

/* A child that ends when the pipe's other end is closed, in the test's own process group. */
static pid_t start_child(int until[2])
{
    char scrap;
    CU_ASSERT_EQUAL_FATAL(pipe(until), 0);
    pid_t child = fork();
    if (child == 0) {
        close(until[1]);
        _exit((int)read(until[0], &scrap, 1));
    }
    close(until[0]);
    return child;
}

static void test_a_command_that_has_left_its_group_is_killed(void)
{
    int until[2];
    struct error why = {0};
    CU_ASSERT_FALSE(alert_command_await(start_child(until), 20, NULL, &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "signal 9 ended it"));
    close(until[1]);
}

/* As a setuid command is: somebody else's process, which kill may not reach. */
static void test_a_command_that_cannot_be_killed_is_left_behind(void)
{
    int status = -1;
    pid_t waiter = fork();
    if (waiter == 0) {
        int until[2];
        struct error why = {0};
        struct user user = user_of_children();
        pid_t child = start_child(until);
        if (setuid(user.uid) != 0 || alert_command_await(child, 20, NULL, &why))
            _exit(1);
        _exit(strstr(why.text, "left behind") != NULL ? 0 : 2); /* the pipe ends the child */
    }
    waitpid(waiter, &status, 0);
    CU_ASSERT_EQUAL(status, 0);
}

static void test_without_a_state_directory(void)
{
    struct alerts *alerts = alerts_new(&ways, INTERVAL, NULL);
    CU_ASSERT_TRUE(alerts_claim(alerts));
    CU_ASSERT_EQUAL(look(alerts, true, NOW), 1);
    CU_ASSERT_EQUAL(look(alerts, true, NOW + 1), 0);
    alerts_free(alerts);
}

void suite_alerts(void)
{
    static CU_TestInfo tests[] = {
        {"told once, and when it is gone", test_told_once_and_when_it_is_gone},
        {"one that comes and goes is told once an interval", test_one_that_comes_and_goes_is_told_once_an_interval},
        {"another process goes on where the first ended", test_another_process_goes_on_where_the_first_ended},
        {"causes do not mix", test_causes_do_not_mix},
        {"what the command gets", test_what_the_command_gets},
        {"the longest alert is told", test_the_longest_alert_is_told},
        {"a command that fails", test_a_command_that_fails},
        {"a command that has left its group is killed", test_a_command_that_has_left_its_group_is_killed},
        {"a command that cannot be killed is left behind", test_a_command_that_cannot_be_killed_is_left_behind},
        {"without a state directory", test_without_a_state_directory},
        CU_TEST_INFO_NULL,
    };
    suite_add("alerts", make_directory, remove_directory, tests);
}
