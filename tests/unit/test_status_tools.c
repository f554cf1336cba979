/* What the status page is made with: what lists show of bodies, text for HTML and JSON, bodies as they may be seen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "tests/suites.h"
#include "tests/support/crashing_body.h"
#include "transform/shown.h"

static struct buffer out;

static const char *text(void)
{
    buffer_append(&out, "", 1);
    return out.data == NULL ? "" : out.data;
}

static void test_json_strings(void)
{
    static const struct {
        const char *from;
        size_t length;
        const char *to;
    } rows[] = {
        {"plain", 5, "\"plain\""},
        {"\"\\\n\t", 4, "\"\\\"\\\\\\n\\u0009\""},
        {"</script>", 9, "\"\\u003c/script>\""},
        {"a\0b", 3, "\"a\\u0000b\""},
        {"caf\xc3\xa9 \xf0\x9f\x98\x80", 10, "\"caf\xc3\xa9 \xf0\x9f\x98\x80\""},
        {"\xc3", 1, "\"\\ufffd\""},                       /* cut */
        {"\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\""}, /* a surrogate */
        {"\xc0\xaf", 2, "\"\\ufffd\\ufffd\""},            /* overlong */
        {"\xf4\x90\x80\x80", 4, "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buffer_clear(&out);
        write_json_bytes(&out, rows[i].from, rows[i].length);
        CU_ASSERT_STRING_EQUAL(text(), rows[i].to);
    }
    buffer_free(&out);
}

static void test_html(void)
{
    buffer_clear(&out);
    write_html_bytes(&out, "<a href='x'>\"&\0</a>", 19);
    CU_ASSERT_STRING_EQUAL(text(), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;&lt;/a&gt;");
    buffer_free(&out);
}

static void test_counts(void)
{
    static const struct {
        uint64_t count;
        const char *text;
    } rows[] = {
        {0, "0"}, {999, "999"}, {1000, "1,000"}, {1234567, "1,234,567"}, {UINT64_MAX, "18,446,744,073,709,551,615"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buffer_clear(&out);
        write_count(&out, rows[i].count);
        CU_ASSERT_STRING_EQUAL(text(), rows[i].text);
    }
    buffer_free(&out);
}

static void test_headline(void)
{
    static const struct {
        const char *body, *name, *lead, *id;
    } rows[] = {
        {"{\"event\": {\"data\": {\"id\": \"no\", \"object_type\": \"no\"}, \"id\" : \"ev_1\", "
         "\"object_type\":\"activity.email\", "
         "\"action\":\"updated\", \"lead_id\":\"lead_1\"}}",
         "activity.email updated", "lead_1", "ev_1"},
        {"{\"event\":{\"lead_id\":null,\"object_type\":\"group\",\"action\":\"created\"}}", "group created", "-", "-"},
        {"{\"event\":{\"note\":\"\\\"id\\\":\\\"x\\\"\",\"id\":\"right\"}}", "(unreadable)", "-", "right"},
        {"{\"event\":{\"id\":\"a\",\"i\\u0064\":\"caf\\u00e9 \\ud83d\\ude00\\ud800\\u0000\"}}", "(unreadable)", "-",
         "caf\xc3\xa9 \xf0\x9f\x98\x80\xef\xbf\xbd\xef\xbf\xbd"},
        {"{\"event\":{\"id\":\"a\",\"id\":[]},\"other\":{\"id\":\"b\"}}", "(unreadable)", "-", "-"},
        {"{\"event\":{\"id\":\"a\"},\"event\":{\"lead_id\":\" \"}}", "(unreadable)", "-", "-"},
        {"[{\"event\":{\"id\":\"a\"}}]", "(unreadable)", "-", "-"},
        {"{\"event\":{\"object_type\":\"lead\",\"action\":\"new\",\"id\":\"a\",\"data\":{\"broken\":", "lead new", "-",
         "a"},
        {"{\"event\":{\"id\":\"cut", "(unreadable)", "-", "cut"},
        {"{\"event\":{\"id\":\"ends with a backslash\\", "(unreadable)", "-", "ends with a backslash"},
        {"", "(unreadable)", "-", "-"},
        {"\"", "(unreadable)", "-", "-"},
        {"]]]}}}{{\"id\":", "(unreadable)", "-", "-"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct headline headline;
        char name[96];
        char *exact = strndup(rows[i].body, strlen(rows[i].body)); /* of its size, for AddressSanitizer */
        headline_read(&headline, exact, strlen(rows[i].body));
        headline_event(&headline, name, sizeof name);
        CU_ASSERT_STRING_EQUAL(name, rows[i].name);
        CU_ASSERT_STRING_EQUAL(headline.lead == NULL ? "-" : headline.lead, rows[i].lead);
        CU_ASSERT_STRING_EQUAL(headline.id == NULL ? "-" : headline.id, rows[i].id);
        CU_ASSERT_EQUAL(headline.why.text[0] == '\0', i < 2);
        free(exact);
    }
}

/* A name that does not fit is cut between two characters, and nothing needs more room for more brackets. */
static void test_headline_of_large_bodies(void)
{
    static char body[4096];
    struct headline headline;
    int length = snprintf(body, sizeof body, "{\"event\":{\"object_type\":\"lead\",\"action\":\"new\",\"id\":\"x");
    for (int i = 0; i < 400; i++)
        length += snprintf(body + length, sizeof body - (size_t)length, "\xc3\xa9");
    length += snprintf(body + length, sizeof body - (size_t)length, "\"}}");
    headline_read(&headline, body, (size_t)length);
    CU_ASSERT_STRING_EQUAL(headline.name, "lead.new");
    CU_ASSERT_EQUAL(strlen(headline.id), 253);
    CU_ASSERT_STRING_EQUAL(headline.id + 251, "\xc3\xa9");
    memset(body, '[', sizeof body);
    headline_read(&headline, body, sizeof body);
    CU_ASSERT_STRING_EQUAL(headline.why.text, "byte 512: from here on it is no JSON");
}

static void test_shown(void)
{
    static char path[] = "data.phone", other_path[] = "data.secret";
    static char *paths[] = {path}, *other_paths[] = {other_path};
    static const char crashing[] = CRASHING_BODY("ev_1", "lead_1");
    struct rules removing_secret = {.remove = other_paths, .removes = 1};
    static const char body[] =
        "{ \"event\":{\"data\":{\"phone\":\"1\",\"n\":1.10},\"previous_data\":{\"phone\":\"2\",\"m\":[null]}}}";
    struct rules rules = {.removes = 0}, removing = {.remove = paths, .removes = 1};
    buffer_clear(&out);
    CU_ASSERT_TRUE(transform_shown(body, sizeof body - 1, &rules, &out));
    CU_ASSERT_STRING_EQUAL(text(), body); /* as it came, byte for byte */
    buffer_clear(&out);
    CU_ASSERT_TRUE(transform_shown(body, sizeof body - 1, &removing, &out));
    CU_ASSERT_STRING_EQUAL(text(), "{\"event\":{\"data\":{\"n\":1.10},\"previous_data\":{\"m\":[null]}}}");
    buffer_clear(&out);
    CU_ASSERT_TRUE(transform_shown(crashing, sizeof crashing - 1, &removing_secret, &out));
    CU_ASSERT_PTR_NOT_NULL(strstr(text(), "\"data\":{\"note\":\"" CRASHING_TEXT "\"}}}"));
    buffer_clear(&out);
    CU_ASSERT_FALSE(transform_shown("{\"phone\": broken", 16, &removing, &out));
    CU_ASSERT_FALSE(transform_shown("[\"phone 1\"]", 11, &removing, &out));
    CU_ASSERT_EQUAL(out.length, 0);
    buffer_free(&out);
}

static void test_all_of_data_removed(void)
{
    static char path[] = "data";
    static char *paths[] = {path};
    static const char body[] =
        "{\"event\":{\"id\":\"x\",\"data\":{\"phone\":\"1\"},\"previous_data\":{\"phone\":\"2\"}}}";
    struct rules removing = {.remove = paths, .removes = 1};
    buffer_clear(&out);
    CU_ASSERT_TRUE(transform_shown(body, sizeof body - 1, &removing, &out));
    CU_ASSERT_STRING_EQUAL(text(), "{\"event\":{\"id\":\"x\"}}");
    buffer_free(&out);
}

static void test_indent(void)
{
    static const struct {
        const char *from, *to;
    } rows[] = {
        {"{\"a\":1,\"b\":[],\"c\":{ }}", "{\n  \"a\": 1,\n  \"b\": [],\n  \"c\": {}\n}"},
        {"{\"a,{\":\"}\\\"]\"}", "{\n  \"a,{\": \"}\\\"]\"\n}"},
        {"[1, 2]", "[\n  1,\n  2\n]"},
        {"{\"cut\":\"in the mid", "{\n  \"cut\": \"in the mid"},
        {"}", "\n}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buffer_clear(&out);
        transform_indent(rows[i].from, strlen(rows[i].from), &out);
        CU_ASSERT_STRING_EQUAL(text(), rows[i].to);
    }
    buffer_free(&out);
}

void suite_status_tools(void)
{
    static CU_TestInfo tests[] = {
        {"JSON strings", test_json_strings},
        {"HTML", test_html},
        {"counts", test_counts},
        {"what a list shows of a body", test_headline},
        {"what a list shows of large bodies", test_headline_of_large_bodies},
        {"a body as it may be seen", test_shown},
        {"all of data removed", test_all_of_data_removed},
        {"indentation", test_indent},
        CU_TEST_INFO_NULL,
    };
    suite_add("status_tools", NULL, NULL, tests);
}
