/* alert-test, and what check says of alerts. */
#include "tests/suites.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/commands_run.h"
#include "tests/support/temporary.h"

#define START "data_plane_url = file:///tmp/none/x\nwrite_key = abc\nqueue = none\n" /* of each configuration */

static struct ran ran;

/* It started before, and does so for one release more. */
static void what_only_a_shell_understands_is_a_warning(void)
{
    static const char *const commands[] = {"/bin/echo 'a", "/bin/echo \"a b\"", "/bin/echo a | /bin/cat",
                                           "/bin/echo $HOME"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char text[300];
        snprintf(text, sizeof text, START "alert_command = %s\n", commands[i]);
        configuration_use(text);
        RUN(&ran, NULL, "check");
        configuration_forget();
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "closecrm.conf:4: alert_command has a "));
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "there is no shell"));
    }
}

static void a_command_for_which_nobody_has_the_privileges_is_told(void)
{
    char folder[PATH_SIZE], text[PATH_SIZE + 200];
    CU_ASSERT_FATAL(temporary_make(folder));
    CU_ASSERT(temporary_write(folder, "mailer", 04755, "#!/bin/sh\n", 10));
    char path[PATH_SIZE];
    path_join(path, folder, "mailer");
    CU_ASSERT_EQUAL(chmod(path, 04755), 0);
    snprintf(text, sizeof text, START "alert_command = %s\n", path);
    configuration_use(text);
    RUN(&ran, NULL, "check");
    CU_ASSERT_PTR_NULL(strstr(ran.out, "NoNewPrivileges"));
    fflush(NULL);
    pid_t child = fork(); /* it cannot be taken back */
    if (child == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
            _exit(1);
        RUN(&ran, NULL, "check");
        _exit(strstr(ran.out, "WRONG: the program runs where nothing gains privileges") != NULL && ran.code == 1 ? 0
                                                                                                                 : 2);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CU_ASSERT_EQUAL(status, 0);
    configuration_forget();
    temporary_remove(folder);
}

static void an_alert_can_be_tried(void)
{
    configuration_use(START);
    RUN(&ran, NULL, "alert-test");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "nobody is told: set alert_command or alert_webhook_url"));
    configuration_forget();
    configuration_use(START "alert_command = /bin/cat\n");
    RUN(&ran, NULL, "alert-test");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "alert_command, /bin/cat: ok: "));
    configuration_forget();
    configuration_use(START "alert_command = /bin/false\nalert_webhook_url = http://127.0.0.1:9/SECRET\n");
    RUN(&ran, NULL, "alert-test");
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "alert_command, /bin/false: WRONG: it ended with 1\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "alert_webhook_url, 127.0.0.1: WRONG: 127.0.0.1: "));
    RUN(&ran, NULL, "check", "--settings");
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "alert_webhook_url = at 127.0.0.1  ("));
    CU_ASSERT_PTR_NULL(strstr(ran.out, "SECRET"));
    configuration_forget();
}

static void a_webhook_is_https(void)
{
    static const struct {
        const char *url, *words;
    } wrong[] = {{"http://hooks.example/SECRET", "must begin with https:// (http:// only for this machine"},
                 {"ftp://hooks.example/SECRET", "must begin with https://"},
                 {"https://user:SECRET@hooks.example/", "must not have a user or password"},
                 {"https:///SECRET", "has no host"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[300];
        snprintf(text, sizeof text, START "alert_webhook_url = %s\n", wrong[i].url);
        configuration_use(text);
        RUN(&ran, NULL, "check");
        configuration_forget();
        CU_ASSERT_EQUAL(ran.code, 3);
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, wrong[i].words));
        CU_ASSERT_PTR_NULL(strstr(ran.err, "SECRET"));
    }
}

void suite_commands_alerts(void)
{
    static CU_TestInfo tests[] = {
        {"what only a shell understands is a warning", what_only_a_shell_understands_is_a_warning},
        {"a command for which nobody has the privileges is told",
         a_command_for_which_nobody_has_the_privileges_is_told},
        {"an alert can be tried", an_alert_can_be_tried},
        {"a webhook is https", a_webhook_is_https},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: alerts", NULL, NULL, tests);
}
