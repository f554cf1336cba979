/* From a body to a message: the documented pair, whom an event concerns, which version it is, what is refused. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "tests/suites.h"
#include "tests/support/transform_tools.h"

/* A body around an event's members, without which it would be no event. */
#define EVENT(members) "{\"event\":{\"object_type\":\"lead\",\"action\":\"updated\"" members "}}"

/* This program's namespace, as it must stay. */
static void make_uuid(const char *name, char text[static 37])
{
    uuid_t namespace;
    uuid_t made;
    CU_ASSERT_EQUAL(uuid_parse("6f0e7b1c-2d49-4c58-9a3e-84c1d7f05b62", namespace), 0);
    uuid_generate_sha1(made, namespace, name, strlen(name));
    uuid_unparse_lower(made, text);
}

/* Asserts that a member is the UUIDv5 over that name. */
static void check_made(const char *body, const char *member, const char *name)
{
    char made[37];
    char quoted[40];
    make_uuid(name, made);
    sprintf(quoted, "\"%s\"", made);
    tool_check_member(body, member, quoted);
}

static struct parsed *parse(const char *body)
{
    struct error why = {0};
    struct parsed *parsed = transform_parse(body, strlen(body), NULL, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(parsed);
    return parsed;
}

static void test_documented_pair(void)
{
    char *body = tool_file("tests/data/opportunity-updated.webhook.json");
    char *documented = tool_file("tests/data/opportunity-updated.track.json");
    char *expected = tool_compact(documented);
    char *message = tool_message(body, strlen(body), NULL, false);
    CU_ASSERT_STRING_EQUAL(message, expected);
    free(message);
    free(expected);
    free(documented);
    free(body);
}

static void test_documented_identity(void)
{
    char *body = tool_file("tests/data/opportunity-updated.webhook.json");
    struct parsed *parsed = parse(body);
    free(body); /* it was only borrowed */
    char made[37];
    char key[37];
    make_uuid("ev_2sYKRjcrA79yKxi3S4Crd7", made);
    uuid_unparse_lower(transform_identity(parsed)->key, key);
    CU_ASSERT_STRING_EQUAL(key, made);
    CU_ASSERT_EQUAL(transform_identity(parsed)->updated_us, INT64_C(1547556503395000));
    CU_ASSERT_STRING_EQUAL(transform_lead(parsed), "lead_zwqYhEFwzPyfCErS8uQ77is2wFLvr9BgVi6cTfbFM68");
    CU_ASSERT_STRING_EQUAL(transform_ordering_key(parsed), "lead_zwqYhEFwzPyfCErS8uQ77is2wFLvr9BgVi6cTfbFM68");
    CU_ASSERT_STRING_EQUAL(transform_event_name(parsed), "opportunity updated");
    CU_ASSERT_STRING_EQUAL(transform_event_id(parsed), "ev_2sYKRjcrA79yKxi3S4Crd7");
    CU_ASSERT_EQUAL(transform_replaced(parsed), 0);
    parsed_free(parsed);
}

/* The whole message, byte for byte, for an event that has as little as an event may. */
static void test_least_event(void)
{
    const char *body = "{\"event\":{\"action\":\"created\",\"object_type\":\"group\",\"object_id\":\"group_1\"}}";
    char anonymous[37];
    char id[37];
    make_uuid("group_1", anonymous);
    make_uuid(body, id);
    char expected[1024];
    sprintf(expected,
            "{\"context\":{\"library\":{\"name\":\"unknown\",\"version\":\"unknown\"},"
            "\"integration\":{\"name\":\"CloseCRM\"}},\"integrations\":{\"CloseCRM\":false},\"type\":\"track\","
            "\"event\":\"group created\",\"anonymousId\":\"%s\",\"messageId\":\"%s\","
            "\"properties\":{\"action\":\"created\",\"object_type\":\"group\",\"object_id\":\"group_1\"}}",
            anonymous, id);
    char *message = tool_message(body, strlen(body), NULL, false);
    CU_ASSERT_STRING_EQUAL(message, expected);
    free(message);
}

static void test_event_name(void)
{
    tool_check_member("{\"event\":{\"object_type\":\"activity.email\",\"action\":\"sent\"}}", "event",
                      "\"activity.email sent\"");
    tool_check_member("{\"event\":{\"object_type\":\"not.yet_invented\",\"action\":\"teleported\"}}", "event",
                      "\"not.yet_invented teleported\"");
    tool_check_member("{\"event\":{\"object_type\":\"a\\\"\\u0000b\",\"action\":\"\xC3\xA9 /\"}}", "event",
                      "\"a\\\"\xEF\xBF\xBD"
                      "b \xC3\xA9 /\"");
    tool_check_member("{\"event\":{\"object_type\":\" lead \",\"action\":\"updated\"}}", "event", "\" lead  updated\"");
}

static void test_envelope_order(void)
{
    tool_check_member("{\"subscription_id\":\"s\",\"event\":{\"object_type\":\"a\",\"action\":\"b\"}}", "properties",
                      "{\"object_type\":\"a\",\"action\":\"b\",\"subscription_id\":\"s\"}");
    tool_check_member("{\"x\":[{}],\"event\":{\"object_type\":\"a\",\"action\":\"b\"},\"y\":{\"event\":1}}",
                      "properties", "{\"object_type\":\"a\",\"action\":\"b\"}");
}

static void test_subscription(void)
{
    static const char *const cases[][2] = {
        {"{\"event\":{\"action\":\"b\",\"object_type\":\"a\"},\"subscription_id\":null}",
         "{\"action\":\"b\",\"object_type\":\"a\"}"},
        {"{\"event\":{\"subscription_id\":\"in\",\"action\":\"b\",\"object_type\":\"a\"},\"subscription_id\":\"out\"}",
         "{\"subscription_id\":\"out\",\"action\":\"b\",\"object_type\":\"a\"}"},
        {"{\"event\":{\"subscription_id\":\"in\",\"action\":\"b\",\"object_type\":\"a\"},\"subscription_id\":null}",
         "{\"subscription_id\":\"in\",\"action\":\"b\",\"object_type\":\"a\"}"},
        {"{\"event\":{\"subscription_id\":\"in\",\"action\":\"b\",\"object_type\":\"a\"}}",
         "{\"subscription_id\":\"in\",\"action\":\"b\",\"object_type\":\"a\"}"},
        {"{\"event\":{\"action\":\"b\",\"object_type\":\"a\"},\"subscription_id\":{\"x\":null,\"changed_fields\":1.0}}",
         "{\"action\":\"b\",\"object_type\":\"a\",\"subscription_id\":{\"changed_fields\":1.0}}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        tool_check_member(cases[i][0], "properties", cases[i][1]);
}

static void test_left_out(void)
{
    tool_check_member(EVENT(",\"changed_fields\":[\"a\"],\"previous_data\":{\"a\":1},\"x\":1"), "properties",
                      "{\"object_type\":\"lead\",\"action\":\"updated\",\"x\":1}");
    tool_check_member(EVENT(",\"data\":{\"changed_fields\":[\"a\"],\"previous_data\":{\"a\":null}}"), "properties",
                      "{\"object_type\":\"lead\",\"action\":\"updated\","
                      "\"data\":{\"changed_fields\":[\"a\"],\"previous_data\":{}}}");
    tool_check_member(EVENT(",\"data\":null,\"a\":[null,{\"b\":null}],\"c\":{\"d\":{\"e\":null}}"), "properties",
                      "{\"object_type\":\"lead\",\"action\":\"updated\",\"a\":[null,{}],\"c\":{\"d\":{}}}");
}

static void test_twice(void)
{
    tool_check_member("{\"event\":{\"object_type\":\"a\",\"action\":\"b\"},\"event\":{\"object_type\":\"c\","
                      "\"action\":\"d\",\"action\":\"e\"}}",
                      "event", "\"c e\"");
    tool_check_member(EVENT(",\"lead_id\":\"lead_1\",\"lead_id\":\"lead_2\""), "userId", "\"lead_2\"");
}

static void test_person(void)
{
    tool_check_member(EVENT(",\"lead_id\":\"lead_1\",\"user_id\":\"user_1\""), "userId", "\"lead_1\"");
    tool_check_member(EVENT(",\"lead_id\":\"lead_1\""), "anonymousId", "");
    tool_check_member(EVENT(",\"lead_id\":\"a\\u0000b\""), "userId",
                      "\"a\xEF\xBF\xBD"
                      "b\"");
    tool_check_member(EVENT(",\"lead_id\":\" x \""), "userId", "\" x \"");
    tool_check_member(EVENT(",\"lead_id\":\"\\u200b\""), "userId", "\"\xE2\x80\x8B\"");
    tool_check_member(EVENT(",\"user_id\":\"user_1\",\"object_id\":\"o\""), "userId", "");

    check_made(EVENT(",\"object_id\":\"o\",\"organization_id\":\"r\",\"id\":\"i\""), "anonymousId", "o");
    check_made(EVENT(",\"object_id\":\" \",\"organization_id\":\"r\",\"id\":\"i\""), "anonymousId", "r");
    check_made(EVENT(",\"object_id\":null,\"organization_id\":5,\"id\":\"i\""), "anonymousId", "i");
    check_made(EVENT(",\"object_id\":{},\"organization_id\":[\"r\"],\"id\":true"), "anonymousId",
               EVENT(",\"object_id\":{},\"organization_id\":[\"r\"],\"id\":true"));
    /* data has ids of its own, which are not the event's. */
    check_made(EVENT(",\"data\":{\"lead_id\":\"l\",\"object_id\":\"x\"},\"object_id\":\"o\""), "anonymousId", "o");
}

static void test_blank_ids(void)
{
    static const char *const blanks[] = {
        "\"\"",
        "\" \"",
        "\"\\t\\n\\r\\f\\u000b \"",
        "\"\\u0085\"",
        "\"\\u00a0\"",
        "\"\\u1680\"",
        "\"\\u2000\\u2001\\u2002\\u2003\\u2004\\u2005\\u2006\\u2007\\u2008\\u2009\\u200a\"",
        "\"\\u2028\"",
        "\"\\u2029\"",
        "\"\\u202f\"",
        "\"\\u205f\"",
        "\"\\u3000\"",
        "\"\\ufeff\"",
        "\" \xC2\xA0\xE3\x80\x80 \"",
        "null",
        "0",
        "true",
        "[]",
        "{\"a\":1}",
    };
    for (size_t i = 0; i < sizeof blanks / sizeof *blanks; i++) {
        char body[512];
        sprintf(body, EVENT(",\"lead_id\":%s,\"id\":%s,\"object_id\":\"o\""), blanks[i], blanks[i]);
        tool_check_member(body, "userId", "");
        check_made(body, "anonymousId", "o");
        check_made(body, "messageId", body);
    }
}

static void test_person_of_parsed(void)
{
    struct parsed *parsed = parse(EVENT(",\"object_id\":\"o\""));
    char made[37];
    make_uuid("o", made);
    CU_ASSERT_PTR_NULL(transform_lead(parsed));
    CU_ASSERT_STRING_EQUAL(transform_ordering_key(parsed), made);
    CU_ASSERT_PTR_NULL(transform_event_id(parsed));
    parsed_free(parsed);
}

static void test_message_id(void)
{
    tool_check_member(EVENT(",\"id\":\"ev_1\""), "messageId", "\"ev_1\"");
    tool_check_member(EVENT(",\"id\":\"ev\\u0001\\\"1\""), "messageId", "\"ev\\u0001\\\"1\"");
    check_made(EVENT(",\"id\":7"), "messageId", EVENT(",\"id\":7"));
}

static void check_newer(const char *body, const char *name)
{
    char made[37];
    char expected[64];
    make_uuid(name, made);
    sprintf(expected, "\"messageId\":\"%s\"", made);
    char *message = tool_message(body, strlen(body), NULL, true);
    CU_ASSERT_PTR_NOT_NULL(strstr(message, expected));
    free(message);
}

static void test_newer_version(void)
{
    check_newer(EVENT(",\"id\":\"ev_1\",\"date_updated\":\"2019-01-15T12:48:23.395000\""),
                "ev_1\n2019-01-15T12:48:23.395000+00:00");
    check_newer(EVENT(",\"id\":\"ev_1\",\"date_updated\":\"2019-01-15T13:48:23.395000+01:00\""),
                "ev_1\n2019-01-15T12:48:23.395000+00:00");
    check_newer(EVENT(",\"id\":\"ev_1\",\"date_updated\":\"2019-01-15T12:48:23.395001Z\""),
                "ev_1\n2019-01-15T12:48:23.395001+00:00");
    check_newer(EVENT(",\"id\":\"ev_1\",\"date_created\":\"2019-01-15T12:48:23.395001Z\""), "ev_1\n");

    const char *without_id = EVENT(",\"date_updated\":\"2019-01-15T12:48:23Z\"");
    char name[128];
    make_uuid(without_id, name);
    strcat(name, "\n2019-01-15T12:48:23.000000+00:00");
    check_newer(without_id, name);
}

static int64_t updated_us(const char *body)
{
    struct parsed *parsed = parse(body);
    int64_t updated = transform_identity(parsed)->updated_us;
    parsed_free(parsed);
    return updated;
}

static void test_dates_of_event(void)
{
    const char *both =
        EVENT(",\"date_created\":\"2019-01-15T12:41:24.496\",\"date_updated\":\"2020-02-29T23:59:59.9999\"");
    tool_check_member(both, "originalTimestamp", "\"2020-02-29T23:59:59.999+00:00\"");
    CU_ASSERT_EQUAL(updated_us(both), INT64_C(1583020799999900));

    const char *created = EVENT(",\"date_created\":\"2019-01-15T12:41:24.496\"");
    tool_check_member(created, "originalTimestamp", "\"2019-01-15T12:41:24.496+00:00\"");
    CU_ASSERT_EQUAL(updated_us(created), INT64_MIN);

    const char *unreadable = EVENT(",\"date_created\":\"2019-01-15T12:41:24.496\",\"date_updated\":\"yesterday\"");
    tool_check_member(unreadable, "originalTimestamp", "\"2019-01-15T12:41:24.496+00:00\"");
    CU_ASSERT_EQUAL(updated_us(unreadable), INT64_MIN);

    tool_check_member(EVENT(""), "originalTimestamp", "");
    tool_check_member(EVENT(",\"date_updated\":1547556503"), "originalTimestamp", "");
    tool_check_member(EVENT(",\"date_updated\":\"2019-02-29T00:00:00\""), "originalTimestamp", "");
    tool_check_member(EVENT(",\"date_updated\":\"2019-01-15T12:48:23\\u0000\""), "originalTimestamp", "");
}

static void check_key(const char *body, const char *name)
{
    struct parsed *parsed = parse(body);
    char made[37];
    char key[37];
    make_uuid(name, made);
    uuid_unparse_lower(transform_identity(parsed)->key, key);
    CU_ASSERT_STRING_EQUAL(key, made);
    parsed_free(parsed);
}

static void test_identity(void)
{
    check_key(EVENT(",\"id\":\"ev_1\""), "ev_1");
    check_key(EVENT(",\"id\":\"ev_1\",\"x\":2"), "ev_1");
    check_key(EVENT(",\"id\":\" \""), EVENT(",\"id\":\" \""));
    check_key(EVENT(",\"data\":{\"id\":\"ev_1\"}"), EVENT(",\"data\":{\"id\":\"ev_1\"}"));
}

static void test_values_are_kept(void)
{
    tool_check_member("{\"event\":{\"object_type\":\"a\",\"action\":\"b\"}}", "type", "\"track\"");
    const char *body = EVENT(",\"data\":{\"n\":[1.10,-0,1e400,1E+2,0.0,-0.0e-0,1234567890123456789012345,"
                             "9007199254740993],\"custom.cf_1\":\"\\u0001\\u001f\x7F\xE2\x80\xA8\xF0\x9F\x98\xB9/\"}");
    char *message = tool_message(body, strlen(body), NULL, false);
    CU_ASSERT_PTR_NOT_NULL(strstr(message, "\"data\":{\"n\":[1.10,-0,1e400,1E+2,0.0,-0.0e-0,1234567890123456789012345,"
                                           "9007199254740993],\"custom.cf_1\":\"\\u0001\\u001f\x7F\xE2\x80\xA8"
                                           "\xF0\x9F\x98\xB9/\"}}}"));
    free(message);
}

static void test_replaced(void)
{
    struct parsed *parsed = parse(EVENT(",\"lead_id\":\"\\ud800\",\"data\":[\"\\udc00x\"]"));
    CU_ASSERT_EQUAL(transform_replaced(parsed), 2);
    CU_ASSERT_STRING_EQUAL(transform_lead(parsed), "\xEF\xBF\xBD");
    parsed_free(parsed);
}

/* json-c's own buffer would have to grow often for these: nothing may be missing. */
static void test_long_values(void)
{
    enum { LENGTH = 300000 };
    char *text = malloc(LENGTH + 1);
    memset(text, 'x', LENGTH);
    text[LENGTH] = '\0';
    char *body = malloc(8 * LENGTH);
    char *expected = malloc(8 * LENGTH);
    sprintf(body, "{\"event\":{\"object_type\":\"%s\",\"action\":\"b\",\"lead_id\":\"%s\",\"id\":\"%s\",\"d\":\"%s\"}}",
            text, text, text, text);
    sprintf(expected,
            "\"event\":\"%s b\",\"userId\":\"%s\",\"messageId\":\"%s\",\"properties\":{\"object_type\":\"%s\","
            "\"action\":\"b\",\"lead_id\":\"%s\",\"id\":\"%s\",\"d\":\"%s\"}}",
            text, text, text, text, text, text, text);
    char *message = tool_message(body, strlen(body), NULL, false);
    CU_ASSERT_STRING_EQUAL(message + strlen(message) - strlen(expected), expected);
    free(message);
    free(expected);
    free(body);
    free(text);
}

/* Strings that print six times as long as they are, in all places that the message repeats. */
static void test_control_characters_everywhere(void)
{
    char controls[6 * 1000 + 1];
    for (size_t i = 0; i < 1000; i++)
        memcpy(controls + 6 * i, "\\u0001", 7);
    char body[40000];
    sprintf(body, EVENT(",\"lead_id\":\"%s\",\"id\":\"%s\""), controls, controls);
    char quoted[6 * 1000 + 3];
    sprintf(quoted, "\"%s\"", controls);
    tool_check_member(body, "userId", quoted);
    tool_check_member(body, "messageId", quoted);
}

static void test_appends(void)
{
    static const struct rules none;
    const char *body = EVENT(",\"id\":\"ev_1\"");
    char *message = tool_message(body, strlen(body), NULL, false);
    struct buffer out = {0};
    buffer_text(&out, "[");
    struct parsed *parsed = parse(body);
    CU_ASSERT_EQUAL(transform_message(parsed, &none, false, &out), TRANSFORM_OK);
    parsed_free(parsed);
    CU_ASSERT_EQUAL_FATAL(out.length, 1 + strlen(message));
    CU_ASSERT_EQUAL(memcmp(out.data, "[", 1), 0);
    CU_ASSERT_EQUAL(memcmp(out.data + 1, message, strlen(message)), 0);
    buffer_free(&out);
    free(message);
}

static void test_same_bytes_always(void)
{
    char *body = tool_file("tests/data/opportunity-updated.webhook.json");
    for (int newer = 0; newer < 2; newer++) {
        char *first = tool_message(body, strlen(body), NULL, newer);
        for (int i = 0; i < 50; i++) {
            char *again = tool_message(body, strlen(body), NULL, newer);
            CU_ASSERT_STRING_EQUAL(again, first);
            free(again);
        }
        free(first);
    }
    free(body);
}

static void test_refused(void)
{
    static const char *const cases[][2] = {
        {"", "byte 0, the end of the text: there is nothing in it but white space"},
        {"{\"event\":{}", "byte 11, the end of the text: a comma or } is missing after a member"},
        {"[]", "the body is JSON, but no object with a Close event in it"},
        {"null", "the body is JSON, but no object with a Close event in it"},
        {"\"event\"", "the body is JSON, but no object with a Close event in it"},
        {"{}", "the body has no member event"},
        {"{\"event\":null}", "the body has no member event"},
        {"{\"Event\":{\"object_type\":\"a\",\"action\":\"b\"}}", "the body has no member event"},
        {"{\"event\":{\"object_type\":\"a\",\"action\":\"b\"},\"event\":null}", "the body has no member event"},
        {"{\"event\":[{\"object_type\":\"a\",\"action\":\"b\"}]}", "event is not an object"},
        {"{\"event\":\"lead updated\"}", "event is not an object"},
        {"{\"event\":{}}", "event.object_type is missing, blank or not a string"},
        {"{\"event\":{\"action\":\"b\"}}", "event.object_type is missing, blank or not a string"},
        {"{\"event\":{\"object_type\":1,\"action\":\"b\"}}", "event.object_type is missing, blank or not a string"},
        {"{\"event\":{\"object_type\":\"\\u00a0\",\"action\":\"b\"}}",
         "event.object_type is missing, blank or not a string"},
        {"{\"event\":{\"object_type\":\"a\"}}", "event.action is missing, blank or not a string"},
        {"{\"event\":{\"object_type\":\"a\",\"action\":null}}", "event.action is missing, blank or not a string"},
        {"{\"event\":{\"object_type\":\"a\",\"action\":\" \"}}", "event.action is missing, blank or not a string"},
        {"{\"event\":{\"data\":{\"object_type\":\"a\",\"action\":\"b\"}}}",
         "event.object_type is missing, blank or not a string"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error why = {0};
        bool out_of_memory = true;
        CU_ASSERT_PTR_NULL(transform_parse(cases[i][0], strlen(cases[i][0]), &out_of_memory, &why));
        CU_ASSERT_FALSE(out_of_memory);
        CU_ASSERT_STRING_EQUAL(why.text, cases[i][1]);
        CU_ASSERT_PTR_NULL(transform_parse(cases[i][0], strlen(cases[i][0]), NULL, NULL));
    }
}

void suite_transform(void)
{
    static CU_TestInfo tests[] = {
        {"the documented pair, byte for byte", test_documented_pair},
        {"the documented event's identity", test_documented_identity},
        {"the least event there is", test_least_event},
        {"event is object_type and action, whatever they are", test_event_name},
        {"the envelope's members in any order", test_envelope_order},
        {"subscription_id", test_subscription},
        {"changed_fields, previous_data and nulls are left out", test_left_out},
        {"of a name that comes twice the last counts", test_twice},
        {"userId is the lead, anonymousId is made", test_person},
        {"blank ids and those that are no strings do not count", test_blank_ids},
        {"a person is known before there is a message", test_person_of_parsed},
        {"messageId is the event's id, or made over the body", test_message_id},
        {"a newer version has a messageId over id and date", test_newer_version},
        {"originalTimestamp and the version's date", test_dates_of_event},
        {"the identity is made over the event's id, or the body", test_identity},
        {"numbers and strings come out as they came in", test_values_are_kept},
        {"replaced surrogates are counted", test_replaced},
        {"long values are complete", test_long_values},
        {"control characters in all that is repeated", test_control_characters_everywhere},
        {"a message is appended to what is there", test_appends},
        {"the same body gives the same bytes", test_same_bytes_always},
        {"what is no Close event is refused with the reason", test_refused},
        CU_TEST_INFO_NULL,
    };
    suite_add("transform", NULL, NULL, tests);
}
