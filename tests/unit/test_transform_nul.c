/* U+0000, which a warehouse cannot load: replaced unless the operator keeps it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "tests/suites.h"
#include "tests/support/transform_tools.h"
#include "transform/transform.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define EVENT(members) "{\"event\":{\"object_type\":\"lead\",\"action\":\"updated\"" members "}}"
#define FFFD "\xEF\xBF\xBD"

static const struct rules replacing, keeping = {.keep_nul = true};

/* Asserts that the properties begin and end as expected; "": that there is no message. */
static void check(const char *members, const struct rules *rules, const char *expected, size_t replaced)
{
    char body[512];
    struct buffer out = {0};
    sprintf(body, EVENT("%s"), members);
    struct parsed *parsed = transform_parse_for(body, strlen(body), rules, NULL, NULL);
    CU_ASSERT_EQUAL(parsed == NULL, *expected == '\0');
    if (parsed == NULL)
        return;
    CU_ASSERT_EQUAL(transform_message(parsed, rules, false, &out), TRANSFORM_OK);
    CU_ASSERT_EQUAL(transform_nuls(parsed), replaced);
    buffer_append(&out, "", 1);
    if (strstr(out.data, expected) == NULL)
        printf("\n    %s is not in %s", expected, out.data);
    CU_ASSERT_PTR_NOT_NULL(strstr(out.data, expected));
    parsed_free(parsed);
    buffer_free(&out);
}

static void test_table(void)
{
    static const struct {
        const char *members, *replaced;
        size_t count;
        const char *kept;
    } cases[] = {
        {",\"data\":{\"note\":\"a\\u0000b\"}", "\"data\":{\"note\":\"a" FFFD "b\"}", 1,
         "\"data\":{\"note\":\"a\\u0000b\"}"},
        {",\"data\":[\"\\u0000\",[\"\\u0000\\u0000\"],{\"x\":\"\\u0000\"}]",
         "\"data\":[\"" FFFD "\",[\"" FFFD FFFD "\"],{\"x\":\"" FFFD "\"}]", 3,
         "\"data\":[\"\\u0000\",[\"\\u0000\\u0000\"],{\"x\":\"\\u0000\"}]"},
        {",\"data\":{\"a\\u0000b\":1,\"c\":2}", "\"data\":{\"a" FFFD "b\":1,\"c\":2}", 1, ""},
        {",\"data\":{\"\\u0000\\u0000\":1}", "\"data\":{\"" FFFD FFFD "\":1}", 1, ""},
        {",\"data\":{\"\\ufffd\":1,\"c\":2,\"\\u0000\":3}", "\"data\":{\"" FFFD "\":3,\"c\":2}", 1, ""}, /* the last */
        {",\"data\":{\"\\u0000\":1,\"\\ufffd\":null}", "\"data\":{}", 1, ""},
        {",\"lead_id\":\"l\\u0000\"", "\"userId\":\"l" FFFD "\"", 1, "\"userId\":\"l\\u0000\""},
        {",\"data\":\"\\\\u0000\"", "\"data\":\"\\\\u0000\"", 0, "\"data\":\"\\\\u0000\""}, /* no escape of a NUL */
        {",\"previous_data\":{\"a\":\"\\u0000\"}", "\"properties\":{\"object_type\":\"lead\",\"action\":\"updated\"}",
         0, "\"properties\":{\"object_type\":\"lead\",\"action\":\"updated\"}"},
        {",\"previous_data\":{\"\\u0000\":1}", "\"properties\":{\"object_type\":\"lead\",\"action\":\"updated\"}", 0,
         ""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        check(cases[i].members, &replacing, cases[i].replaced, cases[i].count);
        check(cases[i].members, &keeping, cases[i].kept, 0);
    }
}

static void test_everywhere(void)
{
    const char *body = "{\"event\":{\"object_type\":\"le\\u0000d\",\"action\":\"up\\u0000\",\"id\":\"e\"},"
                       "\"subscription_id\":\"s\\u0000\"}";
    char *message = tool_message(body, strlen(body), NULL, false);
    CU_ASSERT_PTR_NOT_NULL(strstr(message, "\"event\":\"le" FFFD "d up" FFFD "\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(message, "\"subscription_id\":\"s" FFFD "\""));
    CU_ASSERT_PTR_NULL(strstr(message, "u0000"));
    free(message);
}

static void read_ids(const char *body, const struct rules *rules, char id[static 80], struct identity *identity)
{
    struct parsed *parsed = transform_parse_for(body, strlen(body), rules, NULL, NULL);
    struct buffer out = {0};
    CU_ASSERT_PTR_NOT_NULL_FATAL(parsed);
    *identity = *transform_identity(parsed);
    CU_ASSERT_EQUAL(transform_message(parsed, rules, false, &out), TRANSFORM_OK);
    buffer_append(&out, "", 1);
    CU_ASSERT_EQUAL(sscanf(strstr(out.data, "\"messageId\":"), "\"messageId\":\"%79[^\"]", id), 1);
    parsed_free(parsed);
    buffer_free(&out);
}

/* Ids that replacing would make equal stay different, and the identity does not depend on the option. */
static void test_ids(void)
{
    static const char *const bodies[] = {EVENT(",\"id\":\"ev_\\u0000\""), EVENT(",\"id\":\"ev_\\ufffd\"")};
    char ids[2][80], kept[80];
    struct identity identity[3];
    for (int i = 0; i < 2; i++)
        read_ids(bodies[i], &replacing, ids[i], &identity[i]);
    read_ids(bodies[0], &keeping, kept, &identity[2]);
    CU_ASSERT_EQUAL(strlen(ids[0]), 36); /* a UUID over the id as it came */
    CU_ASSERT_STRING_EQUAL(ids[1], "ev_" FFFD);
    CU_ASSERT_STRING_EQUAL(kept, "ev_\\u0000");
    CU_ASSERT_NOT_EQUAL(memcmp(&identity[0], &identity[1], sizeof *identity), 0);
    CU_ASSERT_EQUAL(memcmp(&identity[0], &identity[2], sizeof *identity), 0);
    read_ids(EVENT(",\"id\":\"ev_1\",\"data\":\"\\u0000\""), &replacing, ids[0], &identity[0]);
    read_ids(EVENT(",\"id\":\"ev_1\",\"data\":\"\\u0000\""), &keeping, kept, &identity[2]);
    CU_ASSERT_STRING_EQUAL(ids[0], "ev_1");
    CU_ASSERT_STRING_EQUAL(kept, "ev_1");
}

/* ---- many events with NULs in texts and names, at any depth ---- */

static unsigned pick(uint64_t *random, unsigned bound)
{
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(*random >> 33) % bound;
}

static void append_string(struct buffer *out, uint64_t *random, bool with_nul)
{
    static const char *const pieces[] = {"a", "custom.cf_", "\\u00e9", "\\ud83d\\ude39", "\\n", "\xC3\xA9", "\\ufffd"};
    buffer_text(out, "\"");
    for (unsigned n = pick(random, 5); n > 0; n--)
        buffer_text(out, with_nul && pick(random, 3) == 0 ? "\\u0000" : pieces[pick(random, COUNT(pieces))]);
    buffer_text(out, "\"");
}

/* Without NULs no name comes twice. */
static void append_name(struct buffer *out, uint64_t *random, unsigned number, bool with_nuls)
{
    static const char *const names[] = {"\"a\"", "\"b\"", "\"c\"", "\"d\""};
    if (with_nuls)
        append_string(out, random, true);
    else
        buffer_text(out, names[number]);
    buffer_text(out, ":");
}

static void append_value(struct buffer *out, uint64_t *random, unsigned depth, bool name_nuls)
{
    unsigned kind = pick(random, depth > 3 ? 3 : 5);
    if (kind < 2) {
        append_string(out, random, true);
    } else if (kind == 2) {
        buffer_text(out, "1.50");
    } else {
        buffer_text(out, kind == 3 ? "[" : "{");
        for (unsigned i = 0, n = pick(random, 4); i < n; i++) {
            buffer_text(out, i > 0 ? "," : "");
            if (kind == 4)
                append_name(out, random, i, name_nuls);
            append_value(out, random, depth + 1, name_nuls);
        }
        buffer_text(out, kind == 3 ? "]" : "}");
    }
}

static void make_body(struct buffer *body, uint64_t *random, bool name_nuls)
{
    static const char *const members[] = {"lead_id", "user_id", "data", "meta", "previous_data"};
    buffer_clear(body);
    buffer_text(body, "{\"event\":{\"object_type\":\"lead\",\"action\":\"updated\",\"id\":");
    append_string(body, random, true);
    for (size_t i = 0; i < COUNT(members); i++) {
        buffer_text(body, ",\"");
        buffer_text(body, members[i]);
        buffer_text(body, "\":");
        append_value(body, random, 0, name_nuls);
    }
    buffer_text(body, "}}");
    buffer_append(body, "", 1);
}

static size_t count_of(const char *text, const char *piece)
{
    size_t count = 0;
    for (; (text = strstr(text, piece)) != NULL; text++)
        count++;
    return count;
}

static void test_many(void)
{
    struct buffer body = {0};
    struct error why;
    size_t with_nul = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        uint64_t random = i * 977 + 1;
        make_body(&body, &random, true);
        char *message = tool_message(body.data, body.length - 1, &replacing, i % 2 == 0);
        with_nul += strstr(body.data, "\\u0000") != NULL;
        if (strstr(message, "\\u0000") != NULL)
            printf("\n    %s", message);
        CU_ASSERT_PTR_NULL_FATAL(strstr(message, "\\u0000"));
        if (i % 100 == 0)
            CU_ASSERT_TRUE(tool_is_json(message, strlen(message), &why));
        free(message);
        make_body(&body, &random, false);
        message = tool_message(body.data, body.length - 1, &keeping, false);
        *strstr(body.data, ",\"previous_data\"") = '\0';
        CU_ASSERT_EQUAL_FATAL(count_of(strstr(message, "\"properties\""), "\\u0000"), count_of(body.data, "\\u0000"));
        free(message);
    }
    CU_ASSERT_TRUE(with_nul > 10000);
    buffer_free(&body);
}

void suite_transform_nul(void)
{
    static CU_TestInfo tests[] = {
        {"replaced, and kept", test_table},
        {"in the event's name and the subscription's id", test_everywhere},
        {"ids count as they came", test_ids},
        {"20,000 events, and not one in their messages", test_many},
        CU_TEST_INFO_NULL,
    };
    suite_add("transform nul", NULL, NULL, tests);
}
