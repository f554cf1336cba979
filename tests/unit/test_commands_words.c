/* The small parts of the commands: moments, numbers, text for terminals, JSON laid out. */
#include "base/escape.h"
#include "base/times.h"
#include "commands/commands_private.h"
#include "tests/suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW INT64_C(1795553106123) /* 2026-11-24T20:45:06.123Z */

static void moments_are_printed_and_read(void)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"2026-11-24T20:45:06.123Z", NOW},
        {"2026-11-24T21:45:06.123+01:00", NOW},
        {"2026-11-24T20:45:06", NOW - 123},
        {"2026-11-24T20:45", NOW - 6123},
        {"2026-11-24", NOW - ((20 * 60 + 45) * 60000 + 6123)},
        {"0s", NOW},
        {"90s", NOW - 90000},
        {"15m", NOW - 900000},
        {"2h", NOW - 7200000},
        {"7d", NOW - 7 * INT64_C(86400000)},
        {"0000000007d", NOW - 7 * INT64_C(86400000)},
        {"9999999d", NOW - 9999999 * INT64_C(86400000)},
    };
    char out[WHEN_SIZE];
    int64_t ms;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ms = 0;
        CU_ASSERT_TRUE(times_read_point(cases[i].text, NOW, &ms));
        CU_ASSERT_EQUAL(ms, cases[i].ms);
    }
    CU_ASSERT_STRING_EQUAL(times_print_utc(NOW, out), "2026-11-24T20:45:06.123Z");
    CU_ASSERT_STRING_EQUAL(times_print_utc(-1, out), "1969-12-31T23:59:59.999Z");
    static const char *const wrong[] = {"",           "2",
                                        "h",          "-2h",
                                        "2w",         "2h30m",
                                        "2026-13-01", "2026-11-24T",
                                        "now",        "99999999999999999999d",
                                        "10000000d",  "2026-11-24T20:45:06.123Z and a good deal of words"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CU_ASSERT_FALSE(times_read_point(wrong[i], NOW, &ms));
}

static void ages_are_short(void)
{
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {-5, "0 s"},           {999, "0 s"},
        {119999, "119 s"},     {120000, "2 min"},
        {3599999, "59 min"},   {7800000, "2 h 10 min"},
        {86400000, "1 d 0 h"}, {INT64_C(273600000), "3 d 4 h"},
    };
    char out[WHEN_SIZE];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CU_ASSERT_STRING_EQUAL(times_print_age(cases[i].ms, out), cases[i].text);
}

static void spans_are_words(void)
{
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {-5, "a moment"},        {999, "a moment"},       {1000, "1 second"},
        {119999, "119 seconds"}, {120000, "2 minutes"},   {7199999, "119 minutes"},
        {7200000, "2 hours"},    {172799999, "47 hours"}, {172800000, "2 days"},
    };
    char out[WHEN_SIZE];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CU_ASSERT_STRING_EQUAL(times_print_span(cases[i].ms, out), cases[i].text);
}

static void json_gets_utf8(void)
{
    static const char *const cases[][2] = {{"Zürich", "Zürich"}, {"cut \xe2\x82", "cut ??"}, {"", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = plain_utf8(cases[i][0]);
        CU_ASSERT_STRING_EQUAL(text, cases[i][1]);
        free(text);
    }
}

/* What a FILE takes, as text that the caller frees. */
struct memory {
    FILE *file;
    char *text;
    size_t length;
};

static void memory_open(struct memory *memory)
{
    memory->file = open_memstream(&memory->text, &memory->length);
    CU_ASSERT_PTR_NOT_NULL_FATAL(memory->file);
}

static void terminals_are_safe(void)
{
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"Zürich €5 😀", "Zürich €5 😀"},
        {"\033[31mred\a\n\x7f", "\\u001b[31mred\\u0007\\u000a\\u007f"},
        {"\xc2\x9b"
         "31m",
         "\\u009b31m"},
        {"\xe2\x80\xaetxt.exe", "\\u202etxt.exe"},
        {"\xff\xc3", "\\xff\\xc3"},
        {"\xc0\xaf", "\\xc0\\xaf"},
        {"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct memory memory;
        memory_open(&memory);
        size_t written = plain_write(memory.file, cases[i].text, strlen(cases[i].text));
        fclose(memory.file);
        CU_ASSERT_STRING_EQUAL(memory.text, cases[i].shown);
        CU_ASSERT_EQUAL(written, strlen(cases[i].shown));
        free(memory.text);
    }
}

static void a_line_stays_one(void)
{
    static const char text[] = "one\r\ntwo\tthree\x1b[2J \xed\xa0\x80 \xc3\xbc\n";
    struct memory memory;
    memory_open(&memory);
    plain_line(memory.file, text, sizeof text - 1);
    fclose(memory.file);
    CU_ASSERT_STRING_EQUAL(memory.text, "one  two three\\u001b[2J \\xed\\xa0\\x80 \xc3\xbc ");
    free(memory.text);
}

static void json_is_laid_out_and_members_removed(void)
{
    static const struct {
        const char *text, *paths[4], *laid_out;
        size_t removed;
    } cases[] = {
        {"{\"a\":1.10,\"b\":[],\"c\":{},\"d\":[1,{\"e\":null}]}",
         {NULL},
         "{\n  \"a\": 1.10,\n  \"b\": [],\n  \"c\": {},\n  \"d\": [\n    1,\n    {\n      \"e\": null\n    }\n  ]\n}\n",
         0},
        {"[\"a \\\" } b\", -0, 12345678901234567890123, true]",
         {NULL},
         "[\n  \"a \\\" } b\",\n  -0,\n  12345678901234567890123,\n  true\n]\n",
         0},
        {"{\"a\":{\"b\":1,\"c\":2},\"b\":3}", {"a.b"}, "{\n  \"a\": {\n    \"c\": 2\n  },\n  \"b\": 3\n}\n", 1},
        {"{\"a\":[{\"b\":{\"x\":[1,2]}},{\"b\":2,\"c\":3}]}",
         {"a.b"},
         "{\n  \"a\": [\n    {},\n    {\n      \"c\": 3\n    }\n  ]\n}\n",
         2},
        {"{\"a.b\":1,\"a\":{\"b\":{\"c\":2}},\"a\\u002eb\":3}", {"a.b"}, "{\n  \"a\": {}\n}\n", 3},
        {"{\"x\":{\"a.b\":{\"c\":1,\"d\":2}}}",
         {"x.a.b.c", "x.nothing", "y"},
         "{\n  \"x\": {\n    \"a.b\": {\n      \"d\": 2\n    }\n  }\n}\n",
         1},
        {" \"text\" ", {NULL}, "\"text\"\n", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct memory memory;
        size_t removed = 99, paths = 0;
        while (cases[i].paths[paths] != NULL)
            paths++;
        memory_open(&memory);
        CU_ASSERT_TRUE(view_layout(memory.file, cases[i].text, strlen(cases[i].text), cases[i].paths, paths, &removed));
        fclose(memory.file);
        CU_ASSERT_STRING_EQUAL(memory.text, cases[i].laid_out);
        CU_ASSERT_EQUAL(removed, cases[i].removed);
        free(memory.text);
    }
}

/* Not JSON: nothing is promised but an end, within the text. */
static void layout_ends_on_anything(void)
{
    static const char text[] = "{\"a\":[1,{\"b\\\\\":tru,},\"c\":\"d\\u00e9\"]]} {{[,\":\\";
    for (size_t from = 0; from < sizeof text - 1; from++) {
        for (size_t length = 0; length <= sizeof text - 1 - from; length++) {
            struct memory memory;
            size_t removed;
            char *copy = malloc(length + 1); /* of its size, for AddressSanitizer */
            CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
            memcpy(copy, text + from, length);
            char *exact = realloc(copy, length > 0 ? length : 1);
            memory_open(&memory);
            view_layout(memory.file, exact, length, NULL, 0, &removed);
            fclose(memory.file);
            CU_ASSERT_TRUE(memory.length > 0);
            free(memory.text);
            free(exact);
        }
    }
}

void suite_commands_words(void)
{
    static CU_TestInfo tests[] = {
        {"moments are printed and read", moments_are_printed_and_read},
        {"ages are short", ages_are_short},
        {"nothing reaches a terminal but text", terminals_are_safe},
        {"JSON gets UTF-8", json_gets_utf8},
        {"a line stays one, and a surrogate is no character", a_line_stays_one},
        {"spans are words", spans_are_words},
        {"JSON is laid out, and members removed", json_is_laid_out_and_members_removed},
        {"the layout ends on anything", layout_ends_on_anything},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: words", NULL, NULL, tests);
}
