/* The message about the person beside the track message: identify and alias. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "tests/suites.h"
#include "tests/support/transform_tools.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define CONTEXT                                                                                                        \
    "{\"context\":{\"library\":{\"name\":\"unknown\",\"version\":\"unknown\"},\"integration\":{\"name\":\"CloseCRM\"}" \
    "},"
#define LEAD "lead\",\"action\":\"updated"
#define LEAD_DATA                                                                                                      \
    "\"id\":\"lead_1\",\"name\":\"KLine\",\"display_name\":\"K\",\"url\":null,\"status_label\":\"Won\","               \
    "\"addresses\":[{\"city\":\"Bonn\"}],\"custom.cf_1\":12.50,\"custom\":{\"cf_2\":[\"x\"]},\"note\":\"n\""

static char *const traits[] = {(char[]){"cf_1"}, (char[]){"custom.cf_2"}, (char[]){"cf_3"}};
static const struct rules both = {.identify = true, .alias = true, .trait = traits, .traits = COUNT(traits)};

/* The message about the person of an event, to be freed; NULL: none. message_id: of its track message, if wanted. */
static char *person_of(const char *body, const struct rules *rules, bool newer, bool replay, char message_id[64])
{
    struct buffer track = {0}, out = {0};
    struct parsed *parsed = transform_parse_for(body, strlen(body), rules, NULL, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(parsed);
    CU_ASSERT_EQUAL(transform_message(parsed, rules, newer, &track), TRANSFORM_OK);
    buffer_append(&track, "", 1);
    if (message_id != NULL)
        CU_ASSERT_EQUAL(sscanf(strstr(track.data, "\"messageId\":"), "\"messageId\":\"%63[^\"]", message_id), 1);
    enum transform_result result = transform_person(parsed, rules, replay, &out);
    CU_ASSERT_EQUAL(result, out.length > 0 ? TRANSFORM_OK : TRANSFORM_DROPPED);
    if (out.length > 0)
        buffer_append(&out, "", 1);
    parsed_free(parsed);
    buffer_free(&track);
    return out.data;
}

static void make_id(const char *message_id, const char *kind, char id[static 37])
{
    uuid_t namespace, made;
    char name[128];
    CU_ASSERT_EQUAL(uuid_parse("6f0e7b1c-2d49-4c58-9a3e-84c1d7f05b62", namespace), 0);
    snprintf(name, sizeof name, "%s\n%s", message_id, kind);
    uuid_generate_sha1(made, namespace, name, strlen(name));
    uuid_unparse_lower(made, id);
}

/* Asserts the whole message of an event with these members; expected: what follows the messageId; NULL: none. */
static void check(const char *members, const struct rules *rules, const char *kind, const char *ids,
                  const char *expected)
{
    char body[2048], wanted[2048], id[37], message_id[64];
    snprintf(body, sizeof body,
             "{\"event\":{\"id\":\"ev_1\",\"lead_id\":\"lead_1\",\"date_updated\":\"2019-01-15T12:48:23\","
             "\"object_type\":\"%s}}",
             members);
    for (int newer = 0; newer < 2; newer++) {
        char *person = person_of(body, rules, newer, false, message_id);
        CU_ASSERT_EQUAL(person == NULL, expected == NULL);
        if (expected != NULL && person != NULL) {
            make_id(message_id, kind, id);
            snprintf(wanted, sizeof wanted,
                     CONTEXT "\"integrations\":{\"CloseCRM\":false},\"type\":\"%s\",%s,\"messageId\":\"%s\","
                             "\"originalTimestamp\":\"2019-01-15T12:48:23.000+00:00\"%s}",
                     kind, ids, id, expected);
            CU_ASSERT_STRING_EQUAL(person, wanted);
        }
        free(person);
    }
}

#define LEAD_TRAITS                                                                                                    \
    ",\"traits\":{\"name\":\"KLine\",\"status_label\":\"Won\",\"addresses\":[{\"city\":\"Bonn\"}],\"cf_1\":12.50,"     \
    "\"cf_2\":[\"x\"]}"

static void test_identify(void)
{
    static const char *const cases[][2] = {
        {LEAD "\",\"data\":{" LEAD_DATA "}", LEAD_TRAITS},
        {"lead\",\"action\":\"created\",\"data\":{" LEAD_DATA "}", LEAD_TRAITS},
        {"lead\",\"action\":\"deleted\",\"data\":{" LEAD_DATA "}", NULL},
        {"lead\",\"action\":\"merged\",\"data\":{" LEAD_DATA "}", NULL},
        {"contact\",\"action\":\"deleted\",\"data\":{\"name\":\"Joe\"}", NULL},
        {"opportunity\",\"action\":\"updated\",\"data\":{" LEAD_DATA "}", NULL},
        {"task.lead\",\"action\":\"updated\",\"data\":{" LEAD_DATA "}", NULL},
        {LEAD "\",\"data\":{\"note\":1}", NULL},
        {LEAD "\",\"data\":null", NULL},
        {LEAD "\"", NULL},
        {"contact\",\"action\":\"updated\",\"data\":{\"id\":\"cont_1\",\"name\":\"Joe\",\"title\":\"Dr\",\"url\":\"u\","
         "\"emails\":[{\"email\":\"a@b\",\"type\":\"office\"},{\"email\":\"c@d\"}],\"phones\":[{\"phone\":\"+49\"}]}",
         ",\"traits\":{\"contact_id\":\"cont_1\",\"contact_name\":\"Joe\",\"contact_email\":\"a@b\","
         "\"contact_phone\":\"+49\",\"contact_title\":\"Dr\"}"},
        {"contact\",\"action\":\"updated\",\"data\":{\"name\":\"Joe\",\"emails\":[],\"phones\":[null]}",
         ",\"traits\":{\"contact_name\":\"Joe\"}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        static const struct rules off;
        check(cases[i][0], &both, "identify", "\"userId\":\"lead_1\"", cases[i][1]);
        check(cases[i][0], &off, "identify", "", NULL);
    }
}

static void test_alias(void)
{
#define MERGED(meta) "lead\",\"action\":\"merged\",\"data\":{" LEAD_DATA "}" meta
    static const struct rules identify_only = {.identify = true};
    const char *merged =
        MERGED(",\"meta\":{\"merge_source_lead_id\":\"lead_0\",\"merge_destination_lead_id\":\"lead_1\"}");
    check(merged, &both, "alias", "\"userId\":\"lead_1\",\"previousId\":\"lead_0\"", "");
    check(merged, &identify_only, "alias", "", NULL);
    check(MERGED(",\"meta\":{\"merge_source_lead_id\":\"lead_1\",\"merge_destination_lead_id\":\"lead_1\"}"), &both,
          "alias", "", NULL);
    check(MERGED(",\"meta\":{\"merge_source_lead_id\":\"lead_0\"}"), &both, "alias", "", NULL);
    check(MERGED(",\"meta\":{\"merge_source_lead_id\":\"lead_0\",\"merge_destination_lead_id\":\" \"}"), &both, "alias",
          "", NULL);
    check(MERGED(",\"meta\":7"), &both, "alias", "", NULL);
    check("contact\",\"action\":\"updated\",\"data\":{},\"meta\":{\"merge_source_lead_id\":\"lead_0\","
          "\"merge_destination_lead_id\":\"lead_1\"}",
          &both, "alias", "", NULL);
}

/* Old traits would win: from the Event Log, and of a replay, there is no identify; an alias stays true. */
static void test_past(void)
{
#define BODY(type, after)                                                                                              \
    "{\"event\":{\"id\":\"ev_1\",\"lead_id\":\"lead_1\",\"object_type\":\"lead\",\"action\":\"" type                   \
    "\",\"data\":{\"name\":\"K\"},\"meta\":{\"merge_source_lead_id\":\"a\",\"merge_destination_lead_id\":\"b\"}"       \
    "}" after "}"
    static const struct {
        const char *body;
        bool replay, is_there;
    } cases[] = {
        {BODY("updated", ""), false, true},
        {BODY("updated", ""), true, false},
        {BODY("updated", ",\"" EVENT_LOG_MARK "\": true"), false, false},
        {BODY("updated", ",\"" EVENT_LOG_MARK "\": false"), false, true},
        {BODY("merged", ""), true, true},
        {BODY("merged", ",\"" EVENT_LOG_MARK "\": true"), false, true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *person = person_of(cases[i].body, &both, false, cases[i].replay, NULL);
        CU_ASSERT_EQUAL(person != NULL, cases[i].is_there);
        free(person);
    }
}

static void test_json_columns(void)
{
    struct rules json = both;
    json.json_columns = true;
    char *person = person_of(BODY("updated", ""), &json, false, false, NULL);
    CU_ASSERT_PTR_NOT_NULL(strstr(person, "\"jsonPaths\":[\"identify.traits.addresses\",\"identify.traits.cf_1\","
                                          "\"identify.traits.cf_2\",\"identify.traits.cf_3\"]}}}"));
    free(person);
}

/* What remove names is in no trait, nor in context.close; and NULs are replaced. */
static void test_removed(void)
{
    static const char *const paths[] = {
        "data.name",        "data.url",         "data.status_label", "data.addresses",           "data.addresses.city",
        "data.custom.cf_1", "data.custom.cf_2", "user_id",           "meta.merge_source_lead_id"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        char body[1024];
        char *removed[] = {strdup(paths[i])};
        struct rules rules = both;
        rules.close_context = true;
        rules.remove = removed;
#define MARK(path) strcmp(paths[i], path) == 0 ? "MARKER" : "plain"
        snprintf(
            body, sizeof body,
            "{\"event\":{\"object_type\":\"lead\",\"action\":\"%s\",\"lead_id\":\"l\",\"user_id\":\"%s\",\"data\":{"
            "\"name\":\"%s\",\"url\":\"%s\\u0000\",\"status_label\":\"%s\",\"addresses\":[{\"city\":\"%s\"},\"%s\"],"
            "\"custom.cf_1\":\"%s\",\"custom\":{\"cf_2\":\"%s\"}},\"meta\":{\"merge_source_lead_id\":\"%s\","
            "\"merge_destination_lead_id\":\"x\"}}}",
            strncmp(paths[i], "meta", 4) == 0 ? "merged" : "updated", MARK("user_id"), MARK("data.name"),
            MARK("data.url"), MARK("data.status_label"), MARK("data.addresses.city"), MARK("data.addresses"),
            MARK("data.custom.cf_1"), MARK("data.custom.cf_2"), MARK("meta.merge_source_lead_id"));
        char *whole = person_of(body, &rules, false, false, NULL);
        rules.removes = 1;
        char *person = person_of(body, &rules, false, false, NULL);
        CU_ASSERT_PTR_NOT_NULL(strstr(whole, "MARKER"));
        CU_ASSERT_PTR_NULL(strstr(whole, "u0000"));
        CU_ASSERT(person == NULL || strstr(person, "MARKER") == NULL);
        free(whole);
        free(person);
        free(removed[0]);
    }
}

void suite_transform_person(void)
{
    static CU_TestInfo tests[] = {
        {"identify of a lead and of a contact", test_identify},
        {"alias of a merge", test_alias},
        {"what is past sends no identify", test_past},
        {"columns of JSON", test_json_columns},
        {"what remove names is gone", test_removed},
        CU_TEST_INFO_NULL,
    };
    suite_add("transform person", NULL, NULL, tests);
}
