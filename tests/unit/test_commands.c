/* The commands' table and what all of them promise: names, help, exit codes, where their output goes. */
#include "base/program_name.h"
#include "commands/commands.h"
#include "config/config.h"
#include "tests/suites.h"
#include "tests/support/commands_run.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct ran ran;

/* Each run of blanks and line ends becomes one blank. */
static void unwrap(char *text)
{
    char *out = text;
    for (; *text != '\0'; text++) {
        bool blank = *text == ' ' || *text == '\n';
        if (!blank || out[-1] != ' ')
            *out++ = blank ? ' ' : *text;
    }
    *out = '\0';
}

static void help_lists_every_command(void)
{
    size_t count = 0;
    const struct command *all = commands_all(&count);

    RUN(&ran, NULL, "help");

    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(ran.err, "");
    CU_ASSERT_EQUAL(count, 35);
    unwrap(ran.out);
    for (size_t i = 0; i < count; i++) {
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, all[i].name));
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, all[i].help));
    }
}

static void help_explains_one_command_either_way_round(void)
{
    RUN(&ran, NULL, "help", "send-test");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "--body FILE           send this file as it is"));

    struct ran other;
    RUN(&other, NULL, "send-test", "--help");
    CU_ASSERT_EQUAL(other.code, 0);
    CU_ASSERT_STRING_EQUAL(other.out, ran.out);
}

/* As it can be run: by this program's path, with this configuration. */
static void help_has_the_own_crontab_line(void)
{
    RUN(&ran, NULL, "--config", "/no where/closecrm.conf", "help", "cron");
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "/all --config '/no where/closecrm.conf' cron\n"));
    CU_ASSERT_PTR_NULL(strstr(ran.out, "/usr/lib/closecrm"));
    unsetenv("CLOSECRM_CONFIG");
}

static void two_words_name_a_command(void)
{
    RUN(&ran, NULL, "help", "queue", "status");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_EQUAL(strncmp(ran.out, "closecrm.fcgi queue status [--source NAME] [--json]\n", 52), 0);
    struct ran other;
    RUN(&other, NULL, "queue", "status", "--help");
    CU_ASSERT_EQUAL(other.code, 0);
    CU_ASSERT_STRING_EQUAL(other.out, ran.out);

    RUN(&ran, NULL, "dead", "--help");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "  dead replay "));
    CU_ASSERT_PTR_NULL(strstr(ran.out, "  queue list "));

    RUN(&ran, NULL, "queue");
    CU_ASSERT_EQUAL(ran.code, 2);
    CU_ASSERT_STRING_EQUAL(ran.out, "");
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "  queue backup "));

    RUN(&ran, NULL, "queue", "statsu");
    CU_ASSERT_EQUAL(ran.code, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "Did you mean `closecrm.fcgi queue status`?"));

    RUN(&ran, NULL, "queue", "status", "--jsn");
    CU_ASSERT_EQUAL(ran.code, 2);
    CU_ASSERT_STRING_EQUAL(
        ran.err, "queue status: no such option: --jsn\nusage: closecrm.fcgi queue status [--source NAME] [--json]\n");
}

static void version_names_the_libraries(void)
{
    RUN(&ran, NULL, "version");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_EQUAL(strncmp(ran.out, "closecrm.fcgi " CLOSECRM_VERSION "\nlibcurl ", 23 + strlen(CLOSECRM_VERSION)), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "\njson-c "));
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "\nSQLite 3."));
    struct ran other;
    static const char *const spellings[] = {"-V", "--version"};
    for (size_t i = 0; i < 2; i++) {
        RUN(&other, NULL, spellings[i]);
        CU_ASSERT_EQUAL(other.code, 0);
        CU_ASSERT_STRING_EQUAL(other.out, ran.out);
    }
}

/* Each of them with a configuration that is not the one that it would find. */
static void every_command_takes_a_configuration(void)
{
    size_t count = 0;
    const struct command *all = commands_all(&count);
    char *before = getenv("CLOSECRM_CONFIG") == NULL ? NULL : strdup(getenv("CLOSECRM_CONFIG"));
    for (size_t i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s", all[i].name);
        char *second = strchr(name, ' ');
        if (second != NULL)
            *second++ = '\0';
        bool asks = strcmp(name, "help") != 0 && strcmp(name, "version") != 0 &&
                    strcmp(name, "completion") != 0; /* which asks with --sources */
        if (second != NULL)
            RUN(&ran, NULL, name, second, "--config", "/nowhere/closecrm.conf", "--no-such");
        else
            RUN(&ran, NULL, name, "--config", "/nowhere/closecrm.conf", "--no-such");
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "no such option: --no-such\n"));
        if (!asks || all[i].arguments[0] != '[')
            continue;
        if (second != NULL)
            RUN(&ran, "", "--config", "/nowhere/closecrm.conf", name, second, "--all");
        else
            RUN(&ran, "", name, "--config=/nowhere/closecrm.conf");
        CU_ASSERT_TRUE(ran.code == 3 || ran.code == 2);
        CU_ASSERT_EQUAL(strstr(ran.err, "/nowhere/closecrm.conf, but there is no such file") != NULL, ran.code == 3);
    }
    if (before != NULL)
        setenv("CLOSECRM_CONFIG", before, 1);
    else
        unsetenv("CLOSECRM_CONFIG");
    free(before);
}

/* Else they would act on another installation. */
static void printed_commands_carry_the_configuration(void)
{
    struct error why;
    char line[OWN_COMMAND], once[200];
    RUN(&ran, NULL, "--config", "/no where/closecrm.conf", "chek");
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "`closecrm.fcgi --config '/no where/closecrm.conf' check`"));
    RUN(&ran, NULL, "check", "--config=/nowhere/closecrm.conf");
    CU_ASSERT_STRING_EQUAL(own_command(line, NULL, NULL, "dead list"),
                           "closecrm.fcgi --config /nowhere/closecrm.conf dead list");
    error_set(&why, "type %s", line);
    CU_ASSERT_STRING_EQUAL(why.text, "type closecrm.fcgi --config /nowhere/closecrm.conf dead list");
    CU_ASSERT_STRING_EQUAL(program_name_put("so: closecrm.fcgi check", once, sizeof once),
                           "so: closecrm.fcgi --config /nowhere/closecrm.conf check");
    CU_ASSERT_STRING_EQUAL(program_name_put_alone(why.text, once, sizeof once), "type closecrm.fcgi dead list");
    RUN(&ran, NULL, "chek");
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "`closecrm.fcgi check`"));
    unsetenv("CLOSECRM_CONFIG");
}

static void unknown_command_is_2_with_the_nearest_name(void)
{
    RUN(&ran, NULL, "chekc");
    CU_ASSERT_EQUAL(ran.code, 2);
    CU_ASSERT_STRING_EQUAL(ran.out, "");
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "no such command: chekc\nDid you mean `closecrm.fcgi check`?\n"));

    RUN(&ran, NULL, "help", "sendtest");
    CU_ASSERT_EQUAL(ran.code, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "Did you mean `closecrm.fcgi send-test`?"));

    RUN(&ran, NULL, "queue", "nope"); /* half of the word is wrong: those that there are */
    CU_ASSERT_EQUAL(ran.code, 2);
    CU_ASSERT_PTR_NULL(strstr(ran.err, "Did you mean"));
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "  queue status     how many events"));

    RUN(&ran, NULL, "frobnicate");
    CU_ASSERT_EQUAL(ran.code, 2);
    CU_ASSERT_PTR_NULL(strstr(ran.err, "Did you mean"));
}

static void wrong_options_are_2_with_usage(void)
{
    static const struct {
        const char *arguments[4];
        const char *words;
    } cases[] = {
        {{"check", "--ofline"}, "check: no such option: --ofline\nusage: closecrm.fcgi check [--offline] [--settings]"},
        {{"check", "--offline=yes"}, "check: --offline takes no value\n"},
        {{"check", "--offl"}, "check: no such option: --offl\nusage: closecrm.fcgi check [--offline] [--settings]"},
        {{"check", "--=x"}, "check: no such option: --=x\n"},
        {{"queue", "list", "-ab"}, "queue list: no such option: -ab\nusage: closecrm.fcgi queue list"},
        {{"check", "x"}, "check: too many arguments: x\n"},
        {{"transform", "--source"}, "transform: --source needs a value\n"},
        {{"transform", "--source", ""}, "transform: --source needs a value\n"},
        {{"dead", "drop", "--reason="}, "dead drop: --reason needs a value\n"},
        {{"queue", "list", "--limit=0"}, "queue list: --limit needs a whole number from 1 to "},
        {{"backup", ""}, "backup: into which file?\n"},
        {{"restore", ""}, "restore: which file?\n"},
        {{"check", "--config"}, "check: --config needs a value\n"},
        {{"--config=", "check"}, "closecrm.fcgi: --config needs a value\n"},
        {{"version", "-v"}, "version: no such option: -v\n"},
        {{"send-test"}, "send-test: to which URL?\nusage: closecrm.fcgi send-test [--source NAME]"},
        {{"send-test", "a", "b"}, "send-test: too many arguments: b\n"},
        {{"send-test", "example.com/closecrm"}, "send-test: the URL must be whole"},
        {{"send-test", "ftp://example.com/"}, "send-test: the URL must be whole"},
        {{"send-test", "--body=-", "--size=1K"}, "send-test: to which URL?\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_command(&ran, NULL, cases[i].arguments);
        CU_ASSERT_EQUAL(ran.code, 2);
        CU_ASSERT_STRING_EQUAL(ran.out, "");
        CU_ASSERT_EQUAL(strncmp(ran.err, cases[i].words, strlen(cases[i].words)), 0);
    }
}

static void no_command_is_2(void)
{
    run_command(&ran, NULL, (const char *const[]){NULL});
    CU_ASSERT_EQUAL(ran.code, 2);
    CU_ASSERT_EQUAL(strncmp(ran.err, "usage: closecrm.fcgi COMMAND", 28), 0);
}

static void full_stdout_is_1(void)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    CU_ASSERT_FATAL(full >= 0);
    run_command_into(&ran, NULL, full, (const char *const[]){"version", NULL});
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "stdout did not take everything: No space left on device"));
}

/* As behind `| head`: who has seen enough needs no complaint. */
static void closed_pipe_on_stdout_is_quiet(void)
{
    int ends[2];
    CU_ASSERT_FATAL(pipe(ends) == 0);
    close(ends[0]);
    run_command_into(&ran, NULL, ends[1], (const char *const[]){"help", NULL});
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(ran.err, "");
}

void suite_commands(void)
{
    static CU_TestInfo tests[] = {
        {"help lists every command", help_lists_every_command},
        {"help explains one command, either way round", help_explains_one_command_either_way_round},
        {"help has the crontab's line of this program", help_has_the_own_crontab_line},
        {"two words name a command", two_words_name_a_command},
        {"version names the libraries", version_names_the_libraries},
        {"every command takes --config", every_command_takes_a_configuration},
        {"printed commands carry --config", printed_commands_carry_the_configuration},
        {"an unknown command is exit code 2 with the nearest name", unknown_command_is_2_with_the_nearest_name},
        {"wrong options are exit code 2 with usage", wrong_options_are_2_with_usage},
        {"no command at all is exit code 2", no_command_is_2},
        {"a full stdout is exit code 1", full_stdout_is_1},
        {"a stdout that nobody reads ends quietly", closed_pipe_on_stdout_is_quiet},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands", NULL, NULL, tests);
}
