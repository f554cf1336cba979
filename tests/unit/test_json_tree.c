/* What the JSON reader makes: everything that was read is printed again as it was, but for null members, names that
 * come twice and lone surrogates. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "tests/suites.h"

/* Reads and prints; asserts that it prints as expected, and how many surrogates were replaced. */
static void check(const char *text, const char *expected, size_t replaced)
{
    struct json_document document;
    bool out_of_memory;
    struct error why = {0};
    CU_ASSERT_TRUE_FATAL(json_read(text, strlen(text), NULL, &document, &out_of_memory, &why));
    CU_ASSERT_STRING_EQUAL(
        json_object_to_json_string_ext(document.root, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
        expected);
    CU_ASSERT_EQUAL(document.replaced, replaced);
    json_document_free(&document);
}

static void check_same(const char *text)
{
    check(text, text, 0);
}

static void test_numbers(void)
{
    static const char *const numbers[] = {
        "0",
        "-0",
        "1",
        "-1",
        "100000",
        "1.10",
        "0.0",
        "-0.0e-0",
        "1e400",
        "-1e-400",
        "1E+2",
        "1e2",
        "9007199254740993",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "18446744073709551616",
        "1234567890123456789012345",
        "-123456789012345678901234567890123456789012345678901234567890",
        "0.1000000000000000055511151231257827021181583404541015625",
        "3.141592653589793238462643383279502884197169399375105820974944592307816406286e+00",
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char text[256];
        check_same(numbers[i]);
        sprintf(text, "[%s,%s]", numbers[i], numbers[i]);
        check_same(text);
        sprintf(text, "{\"a\":%s,\"b\":{\"c\":[%s]}}", numbers[i], numbers[i]);
        check_same(text);
    }
    check("[ 1.0\n,\t-0 ]", "[1.0,-0]", 0);
}

static void test_strings(void)
{
    check_same("\"\"");
    check_same("\"plain text, with a / and 'quotes'\"");
    check_same("\"\\u0000a\\u0000\"");
    check_same("\"\\u0001\\u0002\\b\\t\\n\\u000b\\f\\r\\u000e\\u001f\"");
    check_same("\"\x7F\"");
    check_same("\"\xC2\x80 \xC3\xA9 \xE2\x80\xA8\xE2\x80\xA9 \xEF\xBF\xBF \xF0\x9F\x98\xB9 \xF4\x8F\xBF\xBF\"");
    check_same("\"\\\"\\\\\"");
    check_same("\"1234567\xC3\xA9 12345678\xE2\x82\xAC"
               "123456789\xF0\x9F\x98\xB9\"");
    check("\"\\/\\u002f\\u0041\\u005C\\u0022\\u0008\\u0009\\u000A\\u000D\\u000C\"", "\"//A\\\\\\\"\\b\\t\\n\\r\\f\"",
          0);
    check("\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"", "\"\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF\"", 0);
    check("\"\\ud800\\udc00\\uDBFF\\uDFFF\\ud83d\\ude39\"", "\"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\xF0\x9F\x98\xB9\"", 0);
    check("\"before \\n in between, longer than eight \\t after it\"",
          "\"before \\n in between, longer than eight \\t after it\"", 0);
}

/* Every control character, escaped in the one way that JSON has for all, comes out as a control character. */
static void test_control_characters(void)
{
    static const char short_form[32] = {[8] = 'b', [9] = 't', [10] = 'n', [12] = 'f', [13] = 'r'};
    for (unsigned code = 0; code < 32; code++) {
        char text[16];
        char expected[16];
        sprintf(text, "\"\\u%04X\"", code);
        if (short_form[code] != '\0')
            sprintf(expected, "\"\\%c\"", short_form[code]);
        else
            sprintf(expected, "\"\\u%04x\"", code);
        check(text, expected, 0);
    }
}

/* Appends a code point as UTF-8; returns what comes after. */
static char *put_utf8(char *at, unsigned code)
{
    if (code < 0x80)
        return at + sprintf(at, "%c", (int)code);
    if (code < 0x800)
        return at + sprintf(at, "%c%c", (int)(0xC0 | code >> 6), (int)(0x80 | (code & 0x3F)));
    if (code < 0x10000)
        return at + sprintf(at, "%c%c%c", (int)(0xE0 | code >> 12), (int)(0x80 | (code >> 6 & 0x3F)),
                            (int)(0x80 | (code & 0x3F)));
    return at + sprintf(at, "%c%c%c%c", (int)(0xF0 | code >> 18), (int)(0x80 | (code >> 12 & 0x3F)),
                        (int)(0x80 | (code >> 6 & 0x3F)), (int)(0x80 | (code & 0x3F)));
}

/* Appends it as JSON's escapes have it. */
static char *put_escaped(char *at, unsigned code)
{
    if (code < 0x10000)
        return at + sprintf(at, "\\u%04x", code);
    return at + sprintf(at, "\\u%04X\\u%04X", 0xD800 + ((code - 0x10000) >> 10), 0xDC00 + (code & 0x3FF));
}

/* All of Unicode, as it is and escaped, a string of 256 at a time: it is printed as it is. */
static void test_every_character(void)
{
    for (unsigned first = 0; first < 0x110000; first += 256) {
        char plain[2048] = "\"";
        char escaped[4096] = "\"";
        char *plain_end = plain + 1;
        char *escaped_end = escaped + 1;
        for (unsigned code = first; code < first + 256; code++) {
            if (code < ' ' || code == '"' || code == '\\' || (code >= 0xD800 && code < 0xE000))
                continue;
            plain_end = put_utf8(plain_end, code);
            escaped_end = put_escaped(escaped_end, code);
        }
        strcpy(plain_end, "\"");
        strcpy(escaped_end, "\"");
        check_same(plain);
        check(escaped, plain, 0);
    }
}

static void test_lone_surrogates(void)
{
    check("\"\\ud800\"", "\"\xEF\xBF\xBD\"", 1);
    check("\"\\udfff\"", "\"\xEF\xBF\xBD\"", 1);
    check("\"a\\ud800b\"",
          "\"a\xEF\xBF\xBD"
          "b\"",
          1);
    check("\"\\ud800\\ud800\\udc00\"", "\"\xEF\xBF\xBD\xF0\x90\x80\x80\"", 1);
    check("\"\\udc00\\ud800\"", "\"\xEF\xBF\xBD\xEF\xBF\xBD\"", 2);
    check("\"\\ud800\\u0041\"",
          "\"\xEF\xBF\xBD"
          "A\"",
          1);
    check("\"\\ud800\\n\"", "\"\xEF\xBF\xBD\\n\"", 1);
    check("\"\\ud800u\"", "\"\xEF\xBF\xBDu\"", 1);
    check("{\"\\ud800\":[\"\\udc00\",{\"a\":\"\\ud800\"}]}",
          "{\"\xEF\xBF\xBD\":[\"\xEF\xBF\xBD\",{\"a\":\"\xEF\xBF\xBD\"}]}", 3);
}

static void test_order_and_names(void)
{
    check_same("{\"z\":1,\"a\":2,\"m\":{\"y\":1,\"x\":2},\"\":3,\"b\\\"\\\\\\n\":4,\"\xC3\xA9\":5}");
    check("{\"\\u0061\\u00e9\\/\":1}", "{\"a\xC3\xA9/\":1}", 0);
    check_same("[]");
    check_same("[{},[],[[]],\"\",0,true,false,null]");
    check_same("null");
}

/* Enough members that json-c's table would have had to grow several times. */
static void test_many_members(void)
{
    enum { MEMBERS = 5000 };
    char *text = malloc(MEMBERS * 32);
    char *at = text + sprintf(text, "{");
    for (int i = 0; i < MEMBERS; i++)
        at += sprintf(at, "%s\"name%d\":%d", i > 0 ? "," : "", i * 7919 % MEMBERS, i);
    sprintf(at, "}");
    check_same(text);
    free(text);
}

static void test_twice(void)
{
    check("{\"a\":1,\"b\":2,\"a\":3}", "{\"a\":3,\"b\":2}", 0);
    check("{\"a\":{\"x\":1},\"b\":2,\"a\":[1,2]}", "{\"a\":[1,2],\"b\":2}", 0);
    check("{\"a\":1,\"\\u0061\":2}", "{\"a\":2}", 0);
    check("{\"a\":1,\"a\":2,\"a\":3}", "{\"a\":3}", 0);
    check("{\"a\":{\"b\":1,\"b\":2}}", "{\"a\":{\"b\":2}}", 0);
}

static void test_null_members(void)
{
    check("{\"a\":null}", "{}", 0);
    check("{\"a\":null,\"b\":1,\"c\":null}", "{\"b\":1}", 0);
    check("{\"a\":{\"b\":{\"c\":null}}}", "{\"a\":{\"b\":{}}}", 0);
    check("[null,{\"a\":null},[null]]", "[null,{},[null]]", 0);
    check("{\"a\":[null,1,{\"b\":null,\"c\":[{\"d\":null}]}]}", "{\"a\":[null,1,{\"c\":[{}]}]}", 0);
    check("{\"a\":1,\"a\":null}", "{}", 0);
    check("{\"a\":null,\"b\":2,\"a\":1}", "{\"a\":1,\"b\":2}", 0);
    check("{\"a\":1,\"b\":2,\"a\":null,\"a\":3}", "{\"a\":3,\"b\":2}", 0);
    check("{\"a\":\"\",\"b\":0,\"c\":false,\"d\":{},\"e\":[],\"f\":\"null\"}",
          "{\"a\":\"\",\"b\":0,\"c\":false,\"d\":{},\"e\":[],\"f\":\"null\"}", 0);
}

static bool is_wanted(unsigned depth, const char *parent, const char *name)
{
    if (depth == 1)
        return strcmp(name, "no") != 0;
    return depth != 2 || parent == NULL || strcmp(parent, "in") != 0 || strcmp(name, "no") != 0;
}

static void check_wanted(const char *text, const char *expected)
{
    struct json_document document;
    bool out_of_memory;
    struct error why = {0};
    CU_ASSERT_TRUE_FATAL(json_read(text, strlen(text), is_wanted, &document, &out_of_memory, &why));
    CU_ASSERT_STRING_EQUAL(json_object_to_json_string_ext(document.root, JSON_C_TO_STRING_PLAIN), expected);
    json_document_free(&document);
}

static void test_unwanted_members(void)
{
    check_wanted("{\"no\":{\"a\":[1,{\"b\":\"c\"}]},\"a\":1}", "{\"a\":1}");
    check_wanted("{\"in\":{\"no\":1,\"a\":{\"no\":2}},\"no\":3}", "{\"in\":{\"a\":{\"no\":2}}}");
    check_wanted("{\"other\":{\"no\":1}}", "{\"other\":{\"no\":1}}");
    check_wanted("[{\"no\":1}]", "[{\"no\":1}]");

    struct json_document document;
    bool out_of_memory;
    struct error why;
    static const char faulty[] = "{\"a\":1,\"no\":{\"b\":[01]}}";
    CU_ASSERT_FALSE(json_read(faulty, sizeof faulty - 1, is_wanted, &document, &out_of_memory, &why));
}

void suite_json_tree(void)
{
    static CU_TestInfo tests[] = {
        {"numbers keep their text", test_numbers},
        {"strings keep their characters", test_strings},
        {"every control character", test_control_characters},
        {"every character of Unicode, plain and escaped", test_every_character},
        {"lone surrogates become U+FFFD each and are counted", test_lone_surrogates},
        {"members keep their order, names their characters", test_order_and_names},
        {"many members", test_many_members},
        {"of a name that comes twice the last value stands in the first place", test_twice},
        {"null members are left out at every depth, elements stay", test_null_members},
        {"unwanted members are not built but read as strictly", test_unwanted_members},
        CU_TEST_INFO_NULL,
    };
    suite_add("transform json tree", NULL, NULL, tests);
}
