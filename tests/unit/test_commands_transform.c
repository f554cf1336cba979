/* transform: however the events are laid out, each becomes a message; a bad one costs no other. */
#include "tests/suites.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands/commands_private.h"
#include "config/config.h"
#include "tests/support/commands_run.h"

#define A "{\"event\": {\"id\": \"ev_a\", \"object_type\": \"lead\", \"action\": \"created\", \"lead_id\": \"lead_a\"}}"
#define B "{\"event\": {\"id\": \"ev_b\", \"object_type\": \"note\", \"action\": \"updated\", \"lead_id\": \"lead_b\"}}"
#define PRETTY                                                                                                         \
    "{\n  \"event\": {\n    \"id\": \"ev_p\",\n    \"object_type\": \"task\",\n    \"action\": \"deleted\",\n"         \
    "    \"data\": {\n      \"braces\": \"}{ \\\" ]\"\n    }\n  }\n}\n"

#define SOURCE "data_plane_url = https://data-plane.example\nwrite_key = 1234567890abcdefghijklmnopq\n"

static struct ran ran;

/* The messages' ids in the order of the output, such as "ev_a ev_b ", one per line of it. */
static const char *ids(const char *out)
{
    static char list[1024];
    size_t length = 0;
    list[0] = '\0';
    for (const char *line = out; *line != '\0'; line = strchr(line, '\n') + 1) {
        const char *id = strstr(line, "\"messageId\":\"");
        const char *end = strchr(line, '\n');
        if (id == NULL || end == NULL || id > end)
            return "a line is no message";
        length += (size_t)snprintf(list + length, sizeof list - length, "%.4s ", id + 13);
    }
    return list;
}

static void layouts_give_the_same_messages(void)
{
    static const struct {
        const char *input;
        const char *ids;
    } cases[] = {
        {A, "ev_a "},
        {A "\n", "ev_a "},
        {PRETTY, "ev_p "},
        {A "\n" B "\n", "ev_a ev_b "},
        {A "\r\n\r\n" B, "ev_a ev_b "},
        {A B "\n" A, "ev_a ev_b ev_a "},
        {A "  " PRETTY B, "ev_a ev_p ev_b "},
        {PRETTY PRETTY A "\n", "ev_p ev_p ev_a "},
        {"\n\n  " A "\n", "ev_a "},
    };
    configuration_use(SOURCE);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        RUN(&ran, cases[i].input, "transform");
        CU_ASSERT_EQUAL(ran.code, 0);
        CU_ASSERT_STRING_EQUAL(ran.err, "");
        CU_ASSERT_STRING_EQUAL(ids(ran.out), cases[i].ids);
    }
    configuration_forget();
}

static void works_without_any_configuration(void)
{
    struct error why = {0};
    struct config *config = config_load(&why);
    if (config != NULL || strstr(why.text, "there is no configuration") == NULL) {
        config_free(config); /* this machine has one: nothing to see here */
        return;
    }
    RUN(&ran, A, "transform");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(ids(ran.out), "ev_a ");

    RUN(&ran, A, "transform", "--source", "one");
    CU_ASSERT_EQUAL(ran.code, 3);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "transform: there is no configuration: "));
}

static void documented_event_gives_the_documented_message(void)
{
    static char webhook[16384];
    FILE *file = fopen("tests/data/opportunity-updated.webhook.json", "re");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    webhook[fread(webhook, 1, sizeof webhook - 1, file)] = '\0';
    fclose(file);

    configuration_use(SOURCE);
    RUN(&ran, webhook, "transform");
    configuration_forget();

    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "\"event\":\"opportunity updated\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "\"originalTimestamp\":\"2019-01-15T12:48:23.395+00:00\""));
    CU_ASSERT_PTR_EQUAL(strchr(ran.out, '\n'), ran.out + strlen(ran.out) - 1);
}

static void bad_event_is_told_and_the_others_come(void)
{
    static const struct {
        const char *input;
        const char *ids;
        const char *told; /* how stderr begins */
    } cases[] = {
        {A "\n{\"event\": nonsense}\n" B "\n", "ev_a ev_b ", "line 2: byte 10"},
        {A "\nhello\n" B "\n", "ev_a ev_b ", "line 2: byte 0"},
        {A "\n{\"event\": {\"id\": \"ev_x\"\n" B "\n", "ev_a ev_b ", "line 2: byte "},
        {A "\n{\"event\": \"unfinished\n" B "\n", "ev_a ev_b ", "line 2: byte "},
        {A "\n{\"event\": [[{\n\n\n" B "\n" A, "ev_a ev_b ev_a ", "line 2: byte "},
        {A "}\n" B "\n", "ev_a ev_b ", "line 1, from byte "},
        {"{}\n" A, "ev_a ", "line 1: "},
        {A "\n{\"event\": {", "ev_a ", "line 2: byte "},
        {"\xff\n" A, "ev_a ", "line 1: byte 0"},
    };
    configuration_use(SOURCE);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        RUN(&ran, cases[i].input, "transform");
        CU_ASSERT_EQUAL(ran.code, 1);
        CU_ASSERT_STRING_EQUAL(ids(ran.out), cases[i].ids);
        CU_ASSERT_EQUAL(strncmp(ran.err, cases[i].told, strlen(cases[i].told)), 0);
        CU_ASSERT_PTR_EQUAL(strchr(ran.err, '\n'), ran.err + strlen(ran.err) - 1);
    }
    configuration_forget();
}

static void nothing_on_stdin_is_1(void)
{
    configuration_use(SOURCE);
    RUN(&ran, " \n\n", "transform");
    configuration_forget();
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_STRING_EQUAL(ran.out, "");
    CU_ASSERT_STRING_EQUAL(ran.err, "transform: there was no event on stdin\n");
}

static void rules_of_the_source_apply(void)
{
    configuration_use(SOURCE "drop = note.*\nremove = lead_id\n");

    RUN(&ran, A "\n" B "\n", "transform");

    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(ids(ran.out), "ev_a ");
    CU_ASSERT_STRING_EQUAL(ran.err, "line 2: dropped by keep and drop: \"note updated\" \"ev_b\"\n");
    configuration_forget();
}

static void several_sources_must_be_named(void)
{
    configuration_use("data_plane_url = https://data-plane.example\n"
                      "[source one]\nwrite_key = 1234567890abcdefghijklmnopq\ndrop = *\n"
                      "[source two]\nwrite_key = qponmlkjihgfedcba0987654321\n");

    RUN(&ran, A, "transform");
    CU_ASSERT_EQUAL(ran.code, 2);
    CU_ASSERT_STRING_EQUAL(ran.err,
                           "transform: there are several sources: say which, with --source NAME; there are: one two\n");

    RUN(&ran, A, "transform", "--source", "three");
    CU_ASSERT_EQUAL(ran.code, 2);
    CU_ASSERT_STRING_EQUAL(ran.err, "transform: no source is called \"three\"; there are: one two\n");

    RUN(&ran, A, "transform", "--source=one");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(ran.out, "");

    RUN(&ran, A, "transform", "--source", "two");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_STRING_EQUAL(ids(ran.out), "ev_a ");
    configuration_forget();
}

static void faulty_configuration_is_3(void)
{
    configuration_use(SOURCE "dropp = *\n");

    RUN(&ran, A, "transform");

    CU_ASSERT_EQUAL(ran.code, 3);
    CU_ASSERT_STRING_EQUAL(ran.out, "");
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "closecrm.conf:3: "));
    configuration_forget();
}

static void full_stdout_is_1(void)
{
    char events[4096] = "";
    while (strlen(events) + sizeof A < sizeof events)
        strcat(strcat(events, A), "\n");
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    CU_ASSERT_FATAL(full >= 0);
    configuration_use(SOURCE);
    run_command_into(&ran, events, full, (const char *const[]){"transform", NULL});
    configuration_forget();
    CU_ASSERT_EQUAL(ran.code, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "stdout did not take everything: No space left on device"));
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

static void count_piece(void *context, const struct piece *piece)
{
    (void)piece;
    ++*(size_t *)context;
}

static void json_lines_are_held_one_at_a_time(void)
{
    size_t found = 0;
    struct stream stream = {.found = count_piece, .context = &found};
    for (int i = 0; i < 10000; i++)
        CU_ASSERT_TRUE(stream_feed(&stream, A "\n", sizeof A));
    CU_ASSERT_EQUAL(found, 10000);
    CU_ASSERT(stream.pending.capacity < 1024);
    stream_end(&stream);
    CU_ASSERT_EQUAL(found, 10000);
}

void suite_commands_transform(void)
{
    static CU_TestInfo tests[] = {
        {"every layout of events gives the same messages", layouts_give_the_same_messages},
        {"works without any configuration", works_without_any_configuration},
        {"the documented event gives the documented message", documented_event_gives_the_documented_message},
        {"a bad event is told with line and byte, the others come", bad_event_is_told_and_the_others_come},
        {"nothing on stdin is exit code 1", nothing_on_stdin_is_1},
        {"keep, drop and remove of the source apply", rules_of_the_source_apply},
        {"several sources must be named", several_sources_must_be_named},
        {"a faulty configuration is exit code 3", faulty_configuration_is_3},
        {"a stdout that nobody reads is exit code 1", full_stdout_is_1},
        {"of JSON lines one at a time is held", json_lines_are_held_one_at_a_time},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: transform", NULL, NULL, tests);
}
