/* What the status page is made with: a glance at bodies, text for HTML and JSON, bodies as they may be seen. */
#include <stdio.h>
#include <string.h>

#include "status/glance.h"
#include "status/write.h"
#include "tests/suites.h"
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

static void test_glance(void)
{
    static const struct {
        const char *body, *name, *lead, *id;
    } rows[] = {
        {"{\"event\": {\"data\": {\"id\": \"no\", \"object_type\": \"no\"}, \"id\" : \"ev_1\", "
         "\"object_type\":\"lead\", "
         "\"action\":\"updated\", \"lead_id\":\"lead_1\"}}",
         "lead updated", "lead_1", "ev_1"},
        {"{\"event\":{\"lead_id\":null,\"object_type\":\"group\",\"action\":\"created\"}}", "group created", "", ""},
        {"{\"event\":{\"note\":\"\\\"id\\\":\\\"x\\\"\",\"id\":\"right\"}}", "", "", "right"},
        {"{\"event\":{\"id\":\"cut", "", "", "cut"},
        {"{\"event\":{\"id\":\"ends with a backslash\\", "", "", "ends with a backslash\\"},
        {"", "", "", ""},
        {"\"", "", "", ""},
        {"]]]}}}{{\"id\":", "", "", ""},
    };
    struct glance glance;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        glance_at(rows[i].body, strlen(rows[i].body), &glance);
        CU_ASSERT_STRING_EQUAL(glance.name, rows[i].name);
        CU_ASSERT_STRING_EQUAL(glance.lead, rows[i].lead);
        CU_ASSERT_STRING_EQUAL(glance.id, rows[i].id);
    }
}

static void test_shown(void)
{
    static char path[] = "data.phone";
    static char *paths[] = {path};
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
        {"a glance", test_glance},
        {"a body as it may be seen", test_shown},
        {"all of data removed", test_all_of_data_removed},
        {"indentation", test_indent},
        CU_TEST_INFO_NULL,
    };
    suite_add("status_tools", NULL, NULL, tests);
}
