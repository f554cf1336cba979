/* The strict JSON reader's bounds, and what it says about a fault: where, and what to do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "tests/suites.h"
#include "tests/support/transform_tools.h"

/* depth arrays or objects inside one another. */
static bool is_depth_taken(size_t depth, const char *open, const char *inside, const char *close, struct error *why)
{
    size_t opening = strlen(open);
    size_t closing = strlen(close);
    char *text = calloc(depth * (opening + closing) + strlen(inside) + 1, 1);
    char *at = text;
    for (size_t i = 0; i < depth; i++, at += opening)
        memcpy(at, open, opening);
    at += sprintf(at, "%s", inside);
    for (size_t i = 0; i < depth; i++, at += closing)
        memcpy(at, close, closing);
    bool taken = tool_is_json(text, (size_t)(at - text), why);
    free(text);
    return taken;
}

static void test_depth(void)
{
    struct error why;
    CU_ASSERT_TRUE(is_depth_taken(512, "[", "", "]", &why));
    CU_ASSERT_FALSE(is_depth_taken(513, "[", "", "]", &why));
    CU_ASSERT_STRING_EQUAL(why.text, "byte 512: more than 512 arrays and objects lie inside one another");
    CU_ASSERT_TRUE(is_depth_taken(512, "{\"a\":", "1", "}", &why));
    CU_ASSERT_FALSE(is_depth_taken(513, "{\"a\":", "1", "}", &why));
    CU_ASSERT_FALSE(is_depth_taken(100000, "[", "", "", &why));
    CU_ASSERT_FALSE(is_depth_taken(50000, "[{\"\":", "", "", &why));
    CU_ASSERT_FALSE(is_depth_taken(512, "[", "", "", &why));
}

/* Every beginning of a good text is refused as unfinished, at its end or before. */
static void test_cut_anywhere(void)
{
    static const char text[] =
        "{\"a\\u00e9\": [1.5e+3, true, null, \"\xE2\x82\xAC\\ud83d\\ude39 abcdefgh\"], \"b\": {}}";
    struct error why;
    CU_ASSERT_TRUE(tool_is_json(text, sizeof text - 1, &why));
    for (size_t length = 0; length < sizeof text - 1; length++)
        CU_ASSERT_FALSE(tool_is_json(text, length, &why));
}

/* A fault is found wherever it lies among the bytes that are looked at together. */
static void test_fault_at_every_place(void)
{
    static const char faults[] = {'"', '\\', '\x01', '\x1F', '\0', '\x80', '\xFF'};
    char text[64];
    struct error why;
    for (size_t length = 3; length < sizeof text; length++) {
        memset(text, 'a', length);
        text[0] = text[length - 1] = '"';
        CU_ASSERT_TRUE(tool_is_json(text, length, &why));
        for (size_t at = 1; at < length - 1; at++) {
            for (size_t fault = 0; fault < sizeof faults; fault++) {
                text[at] = faults[fault];
                CU_ASSERT_FALSE(tool_is_json(text, length, &why));
            }
            text[at] = 'a';
        }
    }
}

static void test_reasons(void)
{
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"", "byte 0, the end of the text: there is nothing in it but white space"},
        {"  ", "byte 2, the end of the text: there is nothing in it but white space"},
        {"{\"event\": {\"a\": 1 \"b\": 2}}", "byte 18: a comma or } is missing after a member"},
        {"{\"a\": 1", "byte 7, the end of the text: a comma or } is missing after a member"},
        {"[1 2]", "byte 3: a comma or ] is missing after an element"},
        {"{\"a\": 1,}", "byte 8: a comma must not stand before }"},
        {"{a: 1}", "byte 1: a name in double quotes is missing"},
        {"{\"a\" 1}", "byte 5: a colon is missing after a name"},
        {"{\"a\":}", "byte 5: a value is missing"},
        {"{\"a\\u0000\":1}", "byte 1: a name holds \\u0000, which cannot be used"},
        {"{\"a\": tru}", "byte 6: this is no value of JSON; only true, false and null are words"},
        {"event=%7B", "byte 0: no value of JSON starts like this"},
        {"[01]", "byte 1: a number must not start with a 0 that others follow"},
        {"[1.]", "byte 3: a number needs a digit after its point"},
        {"[1e]", "byte 3: a number needs a digit in its exponent"},
        {"[-]", "byte 2: a number needs a digit here"},
        {"[\"a\\x\"]", "byte 3: JSON has no such escape; a backslash itself is written \\\\"},
        {"[\"\\u12g4\"]", "byte 2: \\u must be followed by four hexadecimal digits"},
        {"[\"abc", "byte 5, the end of the text: a string is not closed"},
        {"[\"a\nb\"]", "byte 3: a control character in a string must be escaped, as \\n or \\u000a"},
        {"[\"caf\xE9\"]", "byte 5: a string is not valid UTF-8"},
        {"\xEF\xBB\xBF{}", "byte 0: a byte order mark must not stand before JSON"},
        {"{} x", "byte 3: something follows after the end of the JSON text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error why = {0};
        CU_ASSERT_FALSE(tool_is_json(cases[i].text, strlen(cases[i].text), &why));
        CU_ASSERT_STRING_EQUAL(why.text, cases[i].why);
    }
}

static void test_too_long(void)
{
    struct json_document document;
    bool out_of_memory = true;
    struct error why = {0};
    CU_ASSERT_FALSE(json_read("", JSON_TEXT_MAX + 1, NULL, &document, &out_of_memory, &why));
    CU_ASSERT_FALSE(out_of_memory);
    CU_ASSERT_STRING_EQUAL(why.text, "a JSON text of 268435457 bytes is more than can be read");
}

void suite_json(void)
{
    static CU_TestInfo tests[] = {
        {"512 levels are taken, 513 refused, 100,000 do no harm", test_depth},
        {"a text cut anywhere is refused", test_cut_anywhere},
        {"a fault in a string is found at every place", test_fault_at_every_place},
        {"each reason says what is wrong and at which byte", test_reasons},
        {"a text beyond what json-c can print is refused", test_too_long},
        CU_TEST_INFO_NULL,
    };
    suite_add("transform json", NULL, NULL, tests);
}
