/* A wrong value of an option or argument is an error that names it, and none is forgotten here: what the commands'
 * table has is what is tried. A date, duration, number or id that cannot be one is a wrong command line. */
#include "commands/commands.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/commands_made.h"
#include "tests/support/commands_run.h"

#include <stdio.h>
#include <string.h>

static struct ran ran;

struct row {
    const char *command, *option; /* "": an argument */
    const char *wrong;
    int code;                 /* 2, but 1 for what the queue or a disk does not have */
    const char *arguments[8]; /* whole */
};

static const struct row rows[] = {
    {"transform", "--source", "nosuch", 2, {"transform", "--source", "nosuch"}},
    {"transform", "--warehouse", "mars", 2, {"transform", "--source", "one", "--warehouse", "mars"}},
    {"check", "--source", "nosuch", 2, {"check", "--offline", "--source", "nosuch"}},
    {"queue retry", "--source", "nosuch", 2, {"queue", "retry", "--source", "nosuch"}},
    {"send-test", "", "nosuch", 2, {"send-test", "--source", "one", "nosuch"}},
    {"send-test", "--source", "nosuch", 2, {"send-test", "--source", "nosuch", "http://127.0.0.1:9/"}},
    {"send-test", "--event", "lead", 2, {"send-test", "--source", "one", "--event", "lead", "http://127.0.0.1:9/"}},
    {"send-test", "--size", "-1", 2, {"send-test", "--source", "one", "--size", "-1", "http://127.0.0.1:9/"}},
    {"send-test", "--body", "/no/file", 1, {"send-test", "--source=one", "--body", "/no/file", "http://127.0.0.1:9/"}},
    {"subscribe", "--url", "nosuch", 2, {"subscribe", "--source", "one", "--url", "nosuch"}},
    {"subscribe", "--source", "nosuch", 2, {"subscribe", "--url", "https://x.example/", "--source", "nosuch"}},
    {"subscribe", "--events", "lead", 2, {"subscribe", "--url", "https://x.example/", "--events", "lead"}},
    {"subscribe", "--filter", "/no/file", 2, {"subscribe", "--url", "https://x.example/", "--filter", "/no/file"}},
    {"subscriptions", "--source", "nosuch", 2, {"subscriptions", "--source", "nosuch"}},
    {"unsubscribe", "--source", "nosuch", 2, {"unsubscribe", "whsub_1", "--source", "nosuch"}},
    {"pause", "--source", "nosuch", 2, {"pause", "whsub_1", "--source", "nosuch"}},
    {"resume", "--source", "nosuch", 2, {"resume", "whsub_1", "--source", "nosuch"}},
    {"rotate", "--source", "nosuch", 2, {"rotate", "--source", "nosuch"}},
    {"backfill", "--source", "nosuch", 2, {"backfill", "--since", "7d", "--source", "nosuch"}},
    {"backfill", "--since", "2026-13-01", 2, {"backfill", "--since", "2026-13-01", "--source", "one"}},
    {"backfill", "--since", "--since", 2, {"backfill", "--since", "9999-01-01", "--source", "one"}},
    {"backfill", "--until", "7w", 2, {"backfill", "--since", "7d", "--until", "7w", "--source", "one"}},
    {"backfill", "--until", "--until", 2, {"backfill", "--since", "7d", "--until", "8d", "--source", "one"}},
    {"backfill", "--until", "older", 2, {"backfill", "--since", "2019-01-01", "--until", "2019-02-01"}},
    {"reconcile", "--source", "nosuch", 2, {"reconcile", "--source", "nosuch"}},
    {"reconcile", "--from", "yesterday", 2, {"reconcile", "--from", "yesterday"}},
    {"reconcile", "--from", "9999-01-01", 2, {"reconcile", "--from", "9999-01-01"}},
    {"queue status", "--source", "nosuch", 1, {"queue", "status", "--source", "nosuch"}},
    {"status", "--source", "nosuch", 1, {"status", "--source", "nosuch"}},
    {"queue list", "--source", "nosuch", 1, {"queue", "list", "--source", "nosuch"}},
    {"queue list", "--limit", "many", 2, {"queue", "list", "--limit", "many"}},
    {"queue show", "", "ev_1", 2, {"queue", "show", "ev_1"}},
    {"queue show", "--source", "no source nosuch", 1, {"queue", "show", "7", "--source", "nosuch"}},
    {"queue set-aside", "", "ev_1", 2, {"queue", "set-aside", "ev_1"}},
    {"queue set-aside", "--source", "no source nosuch", 1, {"queue", "set-aside", "7", "--source", "nosuch"}},
    {"queue move", "", "nosuch", 2, {"queue", "move", "old", "nosuch"}},
    {"queue move", "", "three", 2, {"queue", "move", "old", "two", "three"}},
    {"queue migrate", "--to", "mysql", 2, {"queue", "migrate", "--to", "mysql"}},
    {"queue backup", "", "/no/folder/file", 1, {"queue", "backup", "/no/folder/file"}},
    {"backup", "", "/no/folder/file", 1, {"backup", "/no/folder/file"}},
    {"restore", "", "/no/file", 1, {"restore", "/no/file"}},
    {"dead list", "", "x7", 2, {"dead", "list", "x7"}},
    {"dead list", "--source", "nosuch", 1, {"dead", "list", "--source", "nosuch"}},
    {"dead list", "--event", "*", 2, {"dead", "list", "--event", "*"}},
    {"dead list", "--since", "yesterday", 2, {"dead", "list", "--since", "yesterday"}},
    {"dead list", "--until", "5w", 2, {"dead", "list", "--until", "5w"}},
    {"dead list", "--since", "later than", 2, {"dead", "list", "--since", "1h", "--until", "2h"}},
    {"dead show", "", "x7", 2, {"dead", "show", "x7"}},
    {"dead replay", "", "x7", 2, {"dead", "replay", "x7"}},
    {"dead replay", "--source", "nosuch", 1, {"dead", "replay", "--source", "nosuch"}},
    {"dead replay", "--event", "*", 2, {"dead", "replay", "--event", "*"}},
    {"dead replay", "--since", "yesterday", 2, {"dead", "replay", "--since", "yesterday"}},
    {"dead replay", "--until", "5w", 2, {"dead", "replay", "--until", "5w"}},
    {"dead drop", "", "x7", 2, {"dead", "drop", "x7"}},
    {"dead drop", "--source", "nosuch", 1, {"dead", "drop", "--yes", "--source", "nosuch"}},
    {"dead drop", "--event", "*", 2, {"dead", "drop", "--yes", "--event", "*"}},
    {"dead drop", "--since", "yesterday", 2, {"dead", "drop", "--yes", "--since", "yesterday"}},
    {"dead drop", "--until", "5w", 2, {"dead", "drop", "--yes", "--until", "5w"}},
    {"forget", "--source", "nosuch", 1, {"forget", "--lead", "lead_1", "--yes", "--source", "nosuch"}},
    {"cron", "--seconds", "0", 2, {"cron", "--seconds", "0"}},
    {"cron", "--seconds", "+5", 2, {"cron", "--seconds", "+5"}},
    {"help", "", "nosuch", 2, {"help", "nosuch"}},
};

#define ROWS (sizeof rows / sizeof *rows)

static void wrong_values_are_named(void)
{
    made_begin();
    for (size_t i = 0; i < ROWS; i++) {
        run_command(&ran, "", rows[i].arguments);
        check(ran.code == rows[i].code && ran.out[0] == '\0' && strstr(ran.err, rows[i].wrong) != NULL,
              "%s %s %s: %d: %s%s", rows[i].command, rows[i].option, rows[i].wrong, ran.code, ran.out, ran.err);
    }
    made_end();
}

/* What may be any text, or what only Close knows. */
static bool is_free(const char *command, const char *option)
{
    static const char *const texts[] = {"--reason", "--lead", "--object-type", "--action"};
    static const char *const of_close[] = {"unsubscribe", "pause", "resume", "rotate"};
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(option, texts[i]) == 0 || (option[0] == '\0' && strcmp(command, of_close[i]) == 0))
            return true;
    }
    return false;
}

static bool is_tried(const char *command, const char *option)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (strcmp(rows[i].command, command) == 0 && strcmp(rows[i].option, option) == 0)
            return true;
    }
    return is_free(command, option);
}

/* An argument that is no option, as usage shows it: a word in capitals that does not follow an option. */
static bool takes_argument(const char *arguments)
{
    bool behind_option = false, found = false;
    char words[400];
    snprintf(words, sizeof words, "%s", arguments);
    for (char *rest = words, *word; (word = strsep(&rest, " ")) != NULL;) {
        const char *name = word + (word[0] == '[');
        found = found || (!behind_option && name[0] >= 'A' && name[0] <= 'Z' && strstr(arguments, "< EVENTS") == NULL);
        behind_option = name[0] == '-' && strchr(word, ']') == NULL;
    }
    return found;
}

static void no_option_is_forgotten(void)
{
    size_t count = 0;
    const struct command *all = commands_all(&count);
    for (size_t i = 0; i < count; i++) {
        char options[HELP_OPTIONS], *rest = options;
        help_options(&all[i], options);
        for (char *option; (option = strsep(&rest, " ")) != NULL;) {
            char *value = strchr(option, '=');
            if (value == NULL)
                continue;
            *value = '\0';
            if (strcmp(option, "--config") != 0)
                check(is_tried(all[i].name, option), "%s %s VALUE is tried", all[i].name, option);
        }
        if (takes_argument(all[i].arguments))
            check(is_tried(all[i].name, ""), "%s %s is tried", all[i].name, all[i].arguments);
    }
}

/* None that a command does not take is left out of account. */
static void arguments_too_many_are_named(void)
{
    size_t count = 0;
    const struct command *all = commands_all(&count);
    made_begin();
    for (size_t i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s", all[i].name);
        char *second = strchr(name, ' ');
        if (second != NULL)
            *second++ = '\0';
        if (strncmp(all[i].arguments, "[FILTER", 7) == 0) /* any number */
            continue;
        if (second != NULL)
            RUN(&ran, "", name, second, "1", "2", "too-many");
        else
            RUN(&ran, "", name, "1", "2", "too-many");
        const char *words = strstr(ran.err, "too many arguments: ");
        check(ran.code == 2 && words != NULL, "%s: %d: %s", all[i].name, ran.code, ran.err);
    }
    made_end();
}

void suite_commands_wrong(void)
{
    static CU_TestInfo tests[] = {
        {"a wrong value is an error that names it", wrong_values_are_named},
        {"no option or argument is forgotten", no_option_is_forgotten},
        {"what a command does not take is named", arguments_too_many_are_named},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: wrong values", NULL, NULL, tests);
}
