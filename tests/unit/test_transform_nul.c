/* U+0000, which a warehouse cannot load: replaced unless the operator keeps it; and ids that replacing would make
 * equal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "base/json.h"
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

/* ---- ids: as many as came, however little of them a message can hold ---- */

/* What one id becomes. */
struct made {
    struct identity identity;
    char message_id[80], newer_id[80], kept_id[80], person_id[80], anonymous_id[80];
};

static void read_text(const char *body, const char *name, char text[static 80])
{
    const char *at = strstr(body, name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    CU_ASSERT_EQUAL_FATAL(sscanf(at + strlen(name), "\"%79[^\"]", text), 1);
}

/* The identify of a lead's event; of the object's id an anonymousId is made. */
static void make_others(const char *id, struct made *made)
{
    static const struct rules rules = {.identify = true};
    char body[256];
    sprintf(body, EVENT(",\"id\":\"%s\",\"lead_id\":\"l\",\"data\":{\"name\":\"n\"}"), id);
    struct parsed *parsed = transform_parse_for(body, strlen(body), &rules, NULL, NULL);
    struct buffer out = {0};
    CU_ASSERT_PTR_NOT_NULL_FATAL(parsed);
    transform_message(parsed, &rules, false, &out);
    buffer_clear(&out);
    CU_ASSERT_EQUAL(transform_person(parsed, &rules, false, &out), TRANSFORM_OK);
    buffer_append(&out, "", 1);
    read_text(out.data, "\"messageId\":", made->person_id);
    parsed_free(parsed);
    buffer_free(&out);
    sprintf(body, EVENT(",\"object_id\":\"%s\""), id);
    char *message = tool_message(body, strlen(body), NULL, false);
    read_text(message, "\"anonymousId\":", made->anonymous_id);
    free(message);
}

/* An event of a page has the identity that a webhook's body has. */
static void check_on_page(const char *id, const struct identity *expected)
{
    char page[256];
    struct json_element element;
    struct event_head head;
    struct error why = {0};
    sprintf(page, "{\"data\":[{\"object_type\":\"lead\",\"action\":\"updated\",\"id\":\"%s\"}]}", id);
    struct json_list *list = json_list_new(page, strlen(page), "data", NULL);
    CU_ASSERT_EQUAL_FATAL(json_list_next(list, &element, &why), JSON_ELEMENT);
    CU_ASSERT_TRUE(transform_read_head(element.tree, &head, &why));
    CU_ASSERT_TRUE(head.identified);
    CU_ASSERT_EQUAL(memcmp(&head.identity, expected, sizeof *expected), 0);
    json_list_free(list);
}

static void make_all(const char *id, struct made *made)
{
    char body[256];
    struct identity again;
    *made = (struct made){.message_id = ""};
    sprintf(body, EVENT(",\"id\":\"%s\""), id);
    read_ids(body, &replacing, made->message_id, &made->identity);
    read_ids(body, &keeping, made->kept_id, &again);
    CU_ASSERT_EQUAL(memcmp(&again, &made->identity, sizeof again), 0);
    check_on_page(id, &made->identity);
    char *newer = tool_message(body, strlen(body), NULL, true);
    read_text(newer, "\"messageId\":", made->newer_id);
    free(newer);
    make_others(id, made);
}

/* Fails where two ids have anything in common. */
static void check_all_differ(const struct made *made, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            const struct made *a = &made[i], *b = &made[j];
            bool differ = memcmp(a->identity.key, b->identity.key, sizeof a->identity.key) != 0 &&
                          strcmp(a->message_id, b->message_id) != 0 && strcmp(a->newer_id, b->newer_id) != 0 &&
                          strcmp(a->kept_id, b->kept_id) != 0 && strcmp(a->person_id, b->person_id) != 0 &&
                          strcmp(a->anonymous_id, b->anonymous_id) != 0;
            if (!differ)
                printf("\n    ids %zu and %zu are taken for one", j, i);
            CU_ASSERT_TRUE_FATAL(differ);
        }
    }
}

/* The UUIDs are Python's, of the id encoded with "surrogatepass". */
static void test_ids_of_their_own(void)
{
    static const struct {
        const char *id, *message_id, *kept_id;
    } cases[] = {
        {"x\\ud800", "8b256e60-c239-5546-ab03-5910877fdc25", "8b256e60-c239-5546-ab03-5910877fdc25"},
        {"x\\udfff", "ec5c4275-eceb-5c48-84b7-e726ced12f86", "ec5c4275-eceb-5c48-84b7-e726ced12f86"},
        {"x\\ufffd", "x\357\277\275", "x\357\277\275"},
        {"x\\u0000", "19f1f82d-e3c7-5a10-be96-763ed5e7439d", "x\\u0000"},
        {"x\\ud800\\u0000", "837eec34-669f-585c-a199-5d27db320ce5", "837eec34-669f-585c-a199-5d27db320ce5"},
        {"x\\u0000\\ud800", "5e17a747-552c-5896-94d6-85cafc977ec8", "5e17a747-552c-5896-94d6-85cafc977ec8"},
        {"x\\ufffd\\u0000", "89a73584-557c-5ea7-8730-000dd73c2f48", "x\357\277\275\\u0000"},
        {"\\ud800x", "e2f7f439-faf8-55c4-86f2-120797f8196d", "e2f7f439-faf8-55c4-86f2-120797f8196d"},
        {"x\\ud800x", "d4e3aacc-10d8-5e94-8ca0-5e01742d371a", "d4e3aacc-10d8-5e94-8ca0-5e01742d371a"},
        {"x\\ud800\\ud800", "3e8b97e4-2a4c-535d-a346-041d2f303f14", "3e8b97e4-2a4c-535d-a346-041d2f303f14"},
        {"x\\udc00\\ud800", "283c5fcd-9489-50e2-9f00-2720f448cfc2", "283c5fcd-9489-50e2-9f00-2720f448cfc2"},
        {"x\\ud800\\udc00", "x\360\220\200\200", "x\360\220\200\200"},
        {"x\\udbff\\udfff", "x\364\217\277\277", "x\364\217\277\277"},
        {"x\\ud800\\ud800\\udc00", "11a4f73b-4db9-5d80-9b55-72692511cee9", "11a4f73b-4db9-5d80-9b55-72692511cee9"},
        {"x\\ud800ud800", "6f6f4777-23ff-582d-b7ae-2d58f9f4a1fe", "6f6f4777-23ff-582d-b7ae-2d58f9f4a1fe"},
        {"x\\\\ud800", "x\\\\ud800", "x\\\\ud800"},
        {"x\\u00ed\\u00a0\\u0080", "x\303\255\302\240\302\200", "x\303\255\302\240\302\200"},
        {"x", "x", "x"},
        {"x?", "x?", "x?"},
    };
    struct made made[COUNT(cases)], again;
    for (size_t i = 0; i < COUNT(cases); i++) {
        make_all(cases[i].id, &made[i]);
        CU_ASSERT_STRING_EQUAL(made[i].message_id, cases[i].message_id);
        CU_ASSERT_STRING_EQUAL(made[i].kept_id, cases[i].kept_id);
    }
    check_all_differ(made, COUNT(cases));
    make_all("x\\uD800", &again); /* another spelling of the first */
    CU_ASSERT_STRING_EQUAL(again.message_id, made[0].message_id);
    CU_ASSERT_EQUAL(memcmp(&again.identity, &made[0].identity, sizeof again.identity), 0);
}

/* Each half of a pair there is, alone. */
static void test_every_surrogate(void)
{
    enum { FIRST = 0xD800, LAST = 0xDFFF, HALVES = LAST - FIRST + 1 };
    struct made *made = calloc(HALVES, sizeof *made);
    CU_ASSERT_PTR_NOT_NULL_FATAL(made);
    for (int i = 0; i < HALVES; i++) {
        char id[16];
        sprintf(id, "x\\u%x", (unsigned)(FIRST + i));
        make_all(id, &made[i]);
    }
    check_all_differ(made, HALVES);
    free(made);
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
        {"ids that a message cannot hold are UUIDs of their own", test_ids_of_their_own},
        {"2,048 halves of pairs are 2,048 ids", test_every_surrogate},
        {"20,000 events, and not one in their messages", test_many},
        CU_TEST_INFO_NULL,
    };
    suite_add("transform nul", NULL, NULL, tests);
}
