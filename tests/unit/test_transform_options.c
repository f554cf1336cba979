/* Each option of the messages, alone and together, over all types that Close documents: messages against what json-c
 * makes of the same event here, without any code of the program. */
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "tests/suites.h"
#include "tests/support/transform_tools.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* In these texts `@` stands where a text has U+0000, `~` where a name has one. */
static const char event_text[] =
    "{\"object_type\":\"%s\",\"action\":\"%s\",\"id\":\"ev_1\",\"lead_id\":%s,\"user_id\":\"user_1\","
    "\"organization_id\":\"orga_1\",\"object_id\":\"obje_1\",\"request_id\":\"req_@\",\"api_key_id\":\"api_1\","
    "\"oauth_client_id\":null,\"date_updated\":\"2019-01-15T12:48:23.395000\",\"changed_fields\":[\"note\",\"@\"],"
    "\"meta\":{\"merge_source_lead_id\":\"lead_0\",\"merge_destination_lead_id\":\"lead_1\"},"
    "\"data\":{\"id\":\"data_1\",\"name\":\"Bluth@\",\"title\":\"Dr\",\"url\":null,\"status_label\":\"Won\","
    "\"note\":\"a@b\",\"value\":1200.5,\"addresses\":[{\"city\":\"@\"}],\"emails\":[{\"email\":\"a\"},{\"email\":\"b\"}"
    "],"
    "\"phones\":[{\"phone\":\"+49\"}],\"custom.cf_1\":12.5,\"custom\":{\"cf_2\":[\"x\"],\"cf_3\":1},\"n~\":[{\"~\":\"@"
    "\"}]},"
    "\"previous_data\":{\"note\":\"old@\",\"value\":1,\"~x\":2}}";

static char *const removed[] = {(char[]){"data.note"}, (char[]){"user_id"}};
static char *const traits[] = {(char[]){"cf_1"}, (char[]){"custom.cf_2"}};

static const struct {
    const char *name;
    struct rules rules;
    size_t identifies, aliases; /* of the documented types, with a lead */
} options[] = {
    {"nul = replace, and nothing else", {0}, 0, 0},
    {"nul = keep", {.keep_nul = true}, 0, 0},
    {"warehouse = json", {.json_columns = true}, 0, 0},
    {"context = close", {.close_context = true}, 0, 0},
    {"include = previous_data", {.previous_data = true}, 0, 0},
    {"include = changed_fields", {.changed_fields = true}, 0, 0},
    {"remove", {.remove = removed, .removes = COUNT(removed)}, 0, 0},
    {"identify = yes", {.identify = true}, 4, 0},
    {"identify = yes, traits", {.identify = true, .trait = traits, .traits = COUNT(traits)}, 4, 0},
    {"alias = yes", {.alias = true}, 0, 1},
    {"all",
     {.json_columns = true,
      .close_context = true,
      .previous_data = true,
      .changed_fields = true,
      .identify = true,
      .alias = true,
      .trait = traits,
      .traits = COUNT(traits),
      .remove = removed,
      .removes = COUNT(removed)},
     4,
     1},
};

/* ---- what is expected ---- */

/* An event of one type under the rules: what Close sends, and the same as json-c reads it once each U+0000 is what the
 * rules make of it. */
struct input {
    char *body;
    struct json_object *event;
    const char *type, *action;
    bool has_lead;
};

static struct json_object *read_json(const char *format, ...)
{
    char text[4096];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    struct json_object *tree = json_tokener_parse(text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tree);
    return tree;
}

/* A copy with texts in the places of the two marks; to be freed. */
static char *put_marks(const char *text, const char *in_text, const char *in_name)
{
    struct buffer out = {0};
    for (; *text != '\0'; text++) {
        if (*text == '@' || *text == '~')
            buffer_text(&out, *text == '@' ? in_text : in_name);
        else
            buffer_append(&out, text, 1);
    }
    buffer_append(&out, "", 1);
    return out.data;
}

static struct input make_input(const char *type, const char *action, bool has_lead, const struct rules *rules)
{
    char event[2048], body[2100];
    snprintf(event, sizeof event, event_text, type, action, has_lead ? "\"lead_1\"" : "null");
    snprintf(body, sizeof body, "{\"subscription_id\":\"whsub_1\",\"event\":%s}", event);
    struct input input = {.type = type, .action = action, .has_lead = has_lead};
    /* A name with U+0000 cannot be kept: the event would be a dead letter. */
    input.body = put_marks(body, "\\u0000", rules->keep_nul ? "x" : "\\u0000");
    char *read = rules->keep_nul ? put_marks(event, "\\u0000", "x") : put_marks(event, "\\ufffd", "\\ufffd");
    input.event = read_json("%s", read);
    free(read);
    /* Members that are null are left out, as in the documented message. */
    json_object_object_del(input.event, "lead_id");
    if (has_lead)
        json_object_object_add(input.event, "lead_id", json_object_new_string("lead_1"));
    json_object_object_del(input.event, "oauth_client_id");
    json_object_object_del(json_object_object_get(input.event, "data"), "url");
    if (rules->removes > 0) {
        json_object_object_del(input.event, "user_id");
        json_object_object_del(json_object_object_get(input.event, "data"), "note");
        json_object_object_del(json_object_object_get(input.event, "previous_data"), "note");
    }
    return input;
}

static void free_input(struct input *input)
{
    free(input->body);
    json_object_put(input->event);
}

static struct json_object *expect_context(const struct input *input, const struct rules *rules)
{
    static const char *const members[] = {"user_id",    "organization_id", "object_type",     "object_id",   "action",
                                          "request_id", "api_key_id",      "oauth_client_id", "date_updated"};
    struct json_object *context = read_json("{\"library\":{\"name\":\"unknown\",\"version\":\"unknown\"},"
                                            "\"integration\":{\"name\":\"CloseCRM\"}}");
    if (!rules->close_context)
        return context;
    struct json_object *close = read_json("{\"event_id\":\"ev_1\",\"subscription_id\":\"whsub_1\"}");
    for (size_t i = 0; i < COUNT(members); i++) {
        struct json_object *value = json_object_object_get(input->event, members[i]);
        if (value != NULL)
            json_object_object_add(close, members[i], json_object_get(value));
    }
    json_object_object_add(context, "close", close);
    return context;
}

static void expect_id(struct json_object *message, const char *member, const char *name)
{
    uuid_t namespace, made;
    char text[37];
    CU_ASSERT_EQUAL(uuid_parse("6f0e7b1c-2d49-4c58-9a3e-84c1d7f05b62", namespace), 0);
    uuid_generate_sha1(made, namespace, name, strlen(name));
    uuid_unparse_lower(made, text);
    json_object_object_add(message, member, json_object_new_string(text));
}

static struct json_object *expect_track(const struct input *input, const struct rules *rules)
{
    struct json_object *properties = NULL;
    CU_ASSERT_EQUAL_FATAL(json_object_deep_copy(input->event, &properties, NULL), 0);
    json_object_object_add(properties, "subscription_id", json_object_new_string("whsub_1"));
    if (!rules->previous_data)
        json_object_object_del(properties, "previous_data");
    if (!rules->changed_fields)
        json_object_object_del(properties, "changed_fields");
    struct json_object *message =
        read_json("{\"type\":\"track\",\"event\":\"%s %s\",\"messageId\":\"ev_1\",\"originalTimestamp\":"
                  "\"2019-01-15T12:48:23.395+00:00\",\"integrations\":{\"CloseCRM\":false}}",
                  input->type, input->action);
    if (input->has_lead)
        json_object_object_add(message, "userId", json_object_new_string("lead_1"));
    else
        expect_id(message, "anonymousId", "obje_1");
    if (rules->json_columns)
        json_object_object_add(
            message, "integrations",
            read_json(
                "{\"CloseCRM\":false,\"DATA_WAREHOUSE\":{\"options\":{\"jsonPaths\":[\"track.properties.data\"%s%s]}}}",
                rules->previous_data ? ",\"track.properties.previous_data\"" : "",
                rules->changed_fields ? ",\"track.properties.changed_fields\"" : ""));
    json_object_object_add(message, "context", expect_context(input, rules));
    json_object_object_add(message, "properties", properties);
    return message;
}

static struct json_object *expect_traits(const struct input *input, const struct rules *rules)
{
    if (strcmp(input->type, "contact") == 0)
        return read_json("{\"contact_id\":\"data_1\",\"contact_name\":\"Bluth\\ufffd\",\"contact_email\":\"a\","
                         "\"contact_phone\":\"+49\",\"contact_title\":\"Dr\"}");
    return read_json("{\"name\":\"Bluth\\ufffd\",\"status_label\":\"Won\",\"addresses\":[{\"city\":\"\\ufffd\"}]%s}",
                     rules->traits > 0 ? ",\"cf_1\":12.5,\"cf_2\":[\"x\"]" : "");
}

/* NULL: there is no message about the person. */
static struct json_object *expect_person(const struct input *input, const struct rules *rules)
{
    bool of_lead = strcmp(input->type, "lead") == 0,
         is_new = strcmp(input->action, "created") == 0 || strcmp(input->action, "updated") == 0;
    bool is_alias = rules->alias && of_lead && strcmp(input->action, "merged") == 0;
    bool is_identify = rules->identify && input->has_lead && is_new && (of_lead || strcmp(input->type, "contact") == 0);
    if (!is_alias && !is_identify)
        return NULL;
    struct json_object *message =
        read_json("{\"type\":\"%s\",\"userId\":\"lead_1\",\"originalTimestamp\":\"2019-01-15T12:48:23.395+00:00\","
                  "\"integrations\":{\"CloseCRM\":false%s}%s}",
                  is_alias ? "alias" : "identify",
                  !is_alias && rules->json_columns
                      ? ",\"DATA_WAREHOUSE\":{\"options\":{\"jsonPaths\":[\"identify.traits.addresses\","
                        "\"identify.traits.cf_1\",\"identify.traits.cf_2\"]}}"
                      : "",
                  is_alias ? ",\"previousId\":\"lead_0\"" : "");
    json_object_object_add(message, "context", expect_context(input, rules));
    if (is_identify)
        json_object_object_add(message, "traits", expect_traits(input, rules));
    expect_id(message, "messageId", is_alias ? "ev_1\nalias" : "ev_1\nidentify");
    return message;
}

/* ---- and what is made ---- */

static void check_equal(const char *option, const struct buffer *made, struct json_object *expected)
{
    struct json_object *message = made->length == 0 ? NULL : json_tokener_parse(made->data);
    bool equal = json_object_equal(message, expected) == 1;
    if (!equal)
        printf("\n    %s: %s\n    not %s", option, made->length == 0 ? "nothing" : made->data,
               json_object_to_json_string(expected));
    CU_ASSERT_TRUE(equal);
    json_object_put(message);
    json_object_put(expected);
}

/* With keep_nul an event with U+0000 in a name is refused. */
static void check_names(const struct rules *rules, const char *type, const char *action)
{
    static const struct rules replacing;
    struct input input = make_input(type, action, true, &replacing);
    struct parsed *parsed = transform_parse_for(input.body, strlen(input.body), rules, NULL, NULL);
    CU_ASSERT_EQUAL(parsed == NULL, rules->keep_nul);
    parsed_free(parsed);
    free_input(&input);
}

/* Checks both messages. Returns the type of that about the person, 'a' or 'i'; 0: there is none. */
static char check_event(const char *option, const struct rules *rules, const char *type, const char *action,
                        bool has_lead)
{
    struct buffer track = {0}, person = {0};
    struct input input = make_input(type, action, has_lead, rules);
    struct parsed *parsed = transform_parse_for(input.body, strlen(input.body), rules, NULL, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(parsed);
    CU_ASSERT_EQUAL(transform_message(parsed, rules, false, &track), TRANSFORM_OK);
    enum transform_result result = transform_person(parsed, rules, false, &person);
    CU_ASSERT_EQUAL(result, person.length > 0 ? TRANSFORM_OK : TRANSFORM_DROPPED);
    char kind = person.length == 0 ? '\0' : strcmp(action, "merged") == 0 ? 'a' : 'i';
    buffer_append(&track, "", 1);
    if (person.length > 0)
        buffer_append(&person, "", 1);
    check_equal(option, &track, expect_track(&input, rules));
    check_equal(option, &person, expect_person(&input, rules));
    buffer_free(&track);
    buffer_free(&person);
    parsed_free(parsed);
    free_input(&input);
    return kind;
}

static void check_option(size_t option)
{
    char line[256], type[64], action[64];
    size_t types = 0, identifies = 0, aliases = 0;
    FILE *file = fopen("closeapi/event-types.tsv", "re");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (*line == '#' || sscanf(line, "%63s %63s", type, action) != 2)
            continue;
        char kind = check_event(options[option].name, &options[option].rules, type, action, true);
        check_event(options[option].name, &options[option].rules, type, action, false);
        check_names(&options[option].rules, type, action);
        types++;
        identifies += kind == 'i';
        aliases += kind == 'a';
    }
    fclose(file);
    CU_ASSERT_EQUAL(types, 151);
    CU_ASSERT_EQUAL(identifies, options[option].identifies);
    CU_ASSERT_EQUAL(aliases, options[option].aliases);
}

static void test_all_types(void)
{
    for (size_t i = 0; i < COUNT(options); i++)
        check_option(i);
}

void suite_transform_options(void)
{
    static CU_TestInfo tests[] = {
        {"each option with all types", test_all_types},
        CU_TEST_INFO_NULL,
    };
    suite_add("transform options", NULL, NULL, tests);
}
