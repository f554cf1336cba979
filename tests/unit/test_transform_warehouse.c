/* What a warehouse needs of messages: the options warehouse, context and include, and what remove means for them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "tests/suites.h"
#include "tests/support/transform_tools.h"
#include "transform/shown.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define LIBRARY "\"library\":{\"name\":\"unknown\",\"version\":\"unknown\"}"
#define INTEGRATION "\"integration\":{\"name\":\"CloseCRM\"}"
#define JSON_PATHS(paths)                                                                                              \
    "\"integrations\":{\"CloseCRM\":false,\"DATA_WAREHOUSE\":{\"options\":{\"jsonPaths\":[" paths "]}}},"

static const struct rules all_options = {
    .json_columns = true, .close_context = true, .previous_data = true, .changed_fields = true};

/* Puts `with` in the place of `piece`, which is in the text once. */
static char *exchange(char *text, const char *piece, const char *with)
{
    struct buffer out = {0};
    const char *at = strstr(text, piece);
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    buffer_append(&out, text, (size_t)(at - text));
    buffer_text(&out, with);
    buffer_append(&out, at + strlen(piece), strlen(at + strlen(piece)) + 1);
    free(text);
    return out.data;
}

/* ---- each option with the documented sample ---- */

#define SAMPLE_CLOSE                                                                                                   \
    "\"close\":{\"event_id\":\"ev_2sYKRjcrA79yKxi3S4Crd7\","                                                           \
    "\"user_id\":\"user_lAm7YqrzZj00t1GLK5eTOaRgdkNChswxydbhUhGRbcM\","                                                \
    "\"organization_id\":\"orga_XbVPx5fFbKlYTz9PW5Ih1XDhViV10YihIaEgMEb6fVW\",\"object_type\":\"opportunity\","        \
    "\"object_id\":\"oppo_7H4sjNso7FyBFaeR3RXi5PMJbilfo0c6UPCxsJtEhCO\",\"action\":\"updated\","                       \
    "\"request_id\":\"req_4S2L8JTBAA1OUS74SVmfbN\",\"subscription_id\":\"whsub_8AmjKCZYT3zI8eZoi4HhFC\","              \
    "\"date_updated\":\"2019-01-15T12:48:23.395000\"}"
#define SAMPLE_CHANGED                                                                                                 \
    "\"changed_fields\":[\"confidence\",\"date_updated\",\"status_id\",\"status_label\",\"status_type\"],"
#define SAMPLE_PREVIOUS                                                                                                \
    "\"previous_data\":{\"status_type\":\"active\",\"confidence\":70,"                                                 \
    "\"date_updated\":\"2019-01-15T12:47:39.873000+00:00\","                                                           \
    "\"status_id\":\"stat_3FD9DnGUCJzccBKTh8LiiKoyVPpMJsOkJdcGoA5AYKH\",\"status_label\":\"Active\"},"
#define BEFORE_DATA "\"organization_id\":\"orga_XbVPx5fFbKlYTz9PW5Ih1XDhViV10YihIaEgMEb6fVW\",\"data\":"

static void test_sample(void)
{
    static const struct {
        struct rules rules;
        const char *piece[3], *with[3]; /* of the documented message */
    } cases[] = {
        {{.close_context = true}, {INTEGRATION}, {INTEGRATION "," SAMPLE_CLOSE}},
        {{.json_columns = true}, {"\"integrations\":{\"CloseCRM\":false},"}, {JSON_PATHS("\"track.properties.data\"")}},
        {{.previous_data = true}, {BEFORE_DATA}, {SAMPLE_PREVIOUS BEFORE_DATA}},
        {{.changed_fields = true}, {BEFORE_DATA}, {SAMPLE_CHANGED BEFORE_DATA}},
        {{.json_columns = true, .previous_data = true},
         {BEFORE_DATA, "\"integrations\":{\"CloseCRM\":false},"},
         {SAMPLE_PREVIOUS BEFORE_DATA, JSON_PATHS("\"track.properties.data\",\"track.properties.previous_data\"")}},
        {{.json_columns = true, .changed_fields = true},
         {BEFORE_DATA, "\"integrations\":{\"CloseCRM\":false},"},
         {SAMPLE_CHANGED BEFORE_DATA, JSON_PATHS("\"track.properties.data\",\"track.properties.changed_fields\"")}},
        {{.json_columns = true, .close_context = true, .previous_data = true, .changed_fields = true},
         {BEFORE_DATA, "\"integrations\":{\"CloseCRM\":false},", INTEGRATION},
         {SAMPLE_CHANGED SAMPLE_PREVIOUS BEFORE_DATA,
          JSON_PATHS(
              "\"track.properties.data\",\"track.properties.previous_data\",\"track.properties.changed_fields\""),
          INTEGRATION "," SAMPLE_CLOSE}},
    };
    char *body = tool_file("tests/data/opportunity-updated.webhook.json");
    char *documented = tool_file("tests/data/opportunity-updated.track.json");
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *expected = tool_compact(documented), *message = tool_message(body, strlen(body), &cases[i].rules, false);
        for (size_t n = 0; n < 3 && cases[i].piece[n] != NULL; n++)
            expected = exchange(expected, cases[i].piece[n], cases[i].with[n]);
        CU_ASSERT_STRING_EQUAL(message, expected);
        free(message);
        free(expected);
    }
    free(documented);
    free(body);
}

/* ---- all types ---- */

/* Asserts the whole message of an event of this type with all options. */
static void check_type(const char *type, const char *action)
{
    char body[2048], expected[4096];
    bool is_delete = strcmp(action, "deleted") == 0;
    const char *data = is_delete ? "{}" : "{\"value\":1200.50,\"custom.cf_1\":[]}";
    snprintf(body, sizeof body,
             "{\"event\":{\"object_type\":\"%s\",\"action\":\"%s\",\"id\":\"ev_1\",\"lead_id\":\"lead_1\","
             "\"user_id\":\"u\",\"api_key_id\":\"k\",\"oauth_client_id\":null,\"changed_fields\":[\"value\"],"
             "\"data\":%s,\"previous_data\":{\"value\":-0.99}},\"subscription_id\":\"s\"}",
             type, action, data);
    snprintf(expected, sizeof expected,
             "{\"context\":{" LIBRARY "," INTEGRATION ",\"close\":{\"event_id\":\"ev_1\",\"user_id\":\"u\","
             "\"object_type\":\"%s\",\"action\":\"%s\",\"subscription_id\":\"s\",\"api_key_id\":\"k\"}}," JSON_PATHS(
                 "\"track.properties.data\",\"track.properties.previous_data\","
                 "\"track.properties.changed_fields\"") "\"type\":\"track\",\"event\":\"%s %s\",\"userId\":\"lead_1\","
                                                        "\"messageId\":\"ev_1\",\"properties\":{\"object_type\":\"%s\","
                                                        "\"action\":\"%s\",\"id\":\"ev_1\",\"lead_id\":\"lead_1\","
                                                        "\"user_id\":\"u\",\"api_key_id\":\"k\",\"changed_fields\":"
                                                        "[\"value\"],\"data\":%s,\"previous_data\":{\"value\":-0.99},"
                                                        "\"subscription_id\":\"s\"}}",
             type, action, type, action, type, action, data);
    char *message = tool_message(body, strlen(body), &all_options, false);
    CU_ASSERT_STRING_EQUAL(message, expected);
    free(message);
}

static void test_all_types(void)
{
    char type[64], action[64];
    size_t types = 0;
    FILE *file = fopen("closeapi/event-types.tsv", "re");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    char line[256];
    while (fgets(line, sizeof line, file) != NULL) {
        if (*line != '#' && sscanf(line, "%63s %63s", type, action) == 2) {
            check_type(type, action);
            types++;
        }
    }
    fclose(file);
    CU_ASSERT_EQUAL(types, 151);
}

/* Two versions of one event have two messageIds, and the same event_id. */
static void test_versions(void)
{
    char *body = tool_file("tests/data/opportunity-updated.webhook.json");
    char *first = tool_message(body, strlen(body), &all_options, false);
    char *second = tool_message(body, strlen(body), &all_options, true);
    CU_ASSERT_PTR_NOT_NULL(strstr(second, "\"event_id\":\"ev_2sYKRjcrA79yKxi3S4Crd7\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(first, "\"messageId\":\"ev_2sYKRjcrA79yKxi3S4Crd7\""));
    CU_ASSERT_PTR_NULL(strstr(second, "\"messageId\":\"ev_2sYKRjcrA79yKxi3S4Crd7\""));
    free(first);
    free(second);
    free(body);
}

static void test_close_takes_texts(void)
{
    const char *body = "{\"event\":{\"object_type\":\"a\",\"action\":\"b\",\"user_id\":7,\"object_id\":{\"x\":1},"
                       "\"request_id\":\"\\u0001\\u0000\",\"organization_id\":null,\"id\":\"/\\\"\\\\\\n\"}}";
    char *message = tool_message(body, strlen(body), &all_options, false);
    CU_ASSERT_PTR_NOT_NULL(strstr(message,
                                  "\"close\":{\"event_id\":\"/\\\"\\\\\\n\",\"object_type\":\"a\",\"action\":\"b\","
                                  "\"request_id\":\"\\u0001\xEF\xBF\xBD\"}}"));
    free(message);
}

/* ---- what remove names is gone everywhere ---- */

/* Every member that can be removed has its own path as its value, in previous_data that of data. */
static const char marked[] =
    "{\"event\":{\"object_type\":\"lead\",\"action\":\"updated\",\"id\":\"ev_1\",\"lead_id\":\"lead_1\","
    "\"user_id\":\"<user_id>\",\"organization_id\":\"<organization_id>\",\"object_id\":\"<object_id>\","
    "\"request_id\":\"<request_id>\",\"api_key_id\":\"<api_key_id>\",\"oauth_client_id\":\"<oauth_client_id>\","
    "\"oauth_scope\":\"<oauth_scope>\",\"date_created\":\"<date_created>\",\"date_updated\":\"<date_updated>\","
    "\"changed_fields\":[\"<changed_fields>\"],\"meta\":{\"request_path\":\"<meta.request_path>\"},"
    "\"data\":{\"note\":\"<data.note>\",\"url\":[\"<data.url>\",{\"x\":\"<data.url>\"}],\"custom.cf_1\":"
    "\"<data.custom.cf_1>\",\"custom\":{\"cf_2\":\"<data.custom.cf_2>\"},\"emails\":[{\"email\":\"<data.emails.email>"
    "\"}]"
    "},\"previous_data\":{\"note\":\"<data.note>\",\"url\":\"<data.url>\",\"custom.cf_1\":\"<data.custom.cf_1>\","
    "\"custom\":{\"cf_2\":\"<data.custom.cf_2>\"},\"emails\":[{\"email\":\"<data.emails.email>\"}],"
    "\"old\":\"<previous_data.old>\"}},\"subscription_id\":\"<subscription_id>\"}";

/* Asserts that the marker is in the message and in what people see of the body, and without the path in neither. */
static void check_gone(const char *path, const char *marker)
{
    char *paths[] = {strdup(path)};
    struct rules removing = all_options;
    struct buffer shown = {0};
    removing.remove = paths;
    removing.removes = 1;
    char *whole = tool_message(marked, strlen(marked), &all_options, false);
    char *message = tool_message(marked, strlen(marked), &removing, false);
    CU_ASSERT_TRUE(transform_shown(marked, strlen(marked), &removing, &shown));
    buffer_append(&shown, "", 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(whole, marker));
    if (strstr(message, marker) != NULL)
        printf("\n    without %s: %s", path, message);
    CU_ASSERT_PTR_NULL(strstr(message, marker));
    CU_ASSERT_PTR_NULL(strstr(shown.data, marker));
    free(whole);
    free(message);
    buffer_free(&shown);
    free(paths[0]);
}

static void test_removed_everywhere(void)
{
    size_t members = 0;
    for (const char *at = marked; (at = strchr(at, '<')) != NULL; at++, members++) {
        char marker[64] = "";
        snprintf(marker, sizeof marker, "%.*s", (int)(strcspn(at, ">") + 1), at);
        char path[64] = "";
        snprintf(path, sizeof path, "%.*s", (int)strlen(marker) - 2, marker + 1);
        check_gone(path, marker);
    }
    CU_ASSERT_TRUE(members > 20);
    check_gone("data", "<data.");
    check_gone("data.custom", "<data.custom.cf_2");
    check_gone("previous_data", "<previous_data.old>");
    check_gone("meta", "<meta.request_path>");
}

void suite_transform_warehouse(void)
{
    static CU_TestInfo tests[] = {
        {"each option with the documented sample", test_sample},
        {"all types with all options", test_all_types},
        {"two versions belong together", test_versions},
        {"context.close takes texts", test_close_takes_texts},
        {"what remove names is gone everywhere", test_removed_everywhere},
        CU_TEST_INFO_NULL,
    };
    suite_add("transform warehouse", NULL, NULL, tests);
}
