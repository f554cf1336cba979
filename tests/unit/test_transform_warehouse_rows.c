/* What is said of a message's row in a warehouse, against what was seen there with a real rudder-server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/suites.h"
#include "tests/support/commands_run.h"
#include "tests/support/transform_tools.h"
#include "transform/warehouse.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void test_names(void)
{
    static const struct {
        const char *text, *name;
        bool cut;
    } cases[] = {
        {"activity.email created", "activity_email_created", false},
        {"lead updated", "lead_updated", false},
        {"data_envelope_from", "data_envelope_from", false},
        {"data_custom.cf_AbC123xYz", "data_custom_cf_ab_c123_x_yz", false},
        {"data_custom.cf_v6S011I6MqcbVvB2FA5Nk8dr5MkL8sWuCiG8cUleO9c",
         "data_custom_cf_v6_s011_i6_mqcb_vv_b2_fa5_nk8_dr5_mk_l8_s_wu_ci_", true},
        {"user", "_user", false},
        {"group", "_group", false},
        {"order", "_order", false},
        {"table", "_table", false},
        {"users", "users", false},
        {"HTTPCode", "http_code", false},
        {"ABC", "abc", false},
        {"2nd", "_2nd", false},
        {"12ABc", "_12ab_c", false},
        {"__x y", "__x_y", false},
        {"\xC3\xA9", "", false},
        {"caf\xC3\xA9 x", "caf_x", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char name[COLUMN_NAME];
        CU_ASSERT_EQUAL(warehouse_rules_name(warehouse_rules_at(0), cases[i].text, name), cases[i].cut);
        if (strcmp(name, cases[i].name) != 0)
            printf("\n    %s is %s", cases[i].text, name);
        CU_ASSERT_STRING_EQUAL(name, cases[i].name);
    }
}

static void test_dates(void)
{
    static const struct {
        const char *text;
        bool is;
    } cases[] = {
        {"2026-01-15", true},
        {"2026-02-31", true},
        {"2019-01-15T12:48:23.395000", true},
        {"2019-01-15T12:41:24.496000+00:00", true},
        {"2019-01-15T12:41:24Z", true},
        {"2019-01-15 12:41", true},
        {"2019-01-15T12:41:24+0100", true},
        {"2026-13-01", false},
        {"2026-01-32", false},
        {"2026-01", false},
        {"15.01.2026", false},
        {"2026-01-15 a", false},
        {"2026-01-15T25:00", false},
        {"20260115", false},
        {"", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        CU_ASSERT_EQUAL(warehouse_rules_is_date(cases[i].text, strlen(cases[i].text)), cases[i].is);
}

/* Describes events of one type with these data, one after another; the lines on the last one, to be freed. */
static char *describe(const char *const *data, size_t count, const struct rules *rules)
{
    struct warehouse *warehouse = warehouse_new("postgres");
    struct buffer out = {0};
    CU_ASSERT_PTR_NOT_NULL_FATAL(warehouse);
    for (size_t i = 0; i < count; i++) {
        struct buffer body = {0};
        buffer_text(&body,
                    "{\"event\":{\"object_type\":\"lead\",\"action\":\"updated\",\"id\":\"ev_1\",\"lead_id\":\"l\","
                    "\"user_id\":\"user_1\",\"data\":");
        buffer_text(&body, data[i]);
        buffer_text(&body, "}}");
        char *message = tool_message(body.data, body.length, rules, false);
        buffer_clear(&out);
        CU_ASSERT_TRUE(warehouse_describe(warehouse, message, strlen(message), &out));
        free(message);
        buffer_free(&body);
    }
    buffer_append(&out, "", 1);
    warehouse_free(warehouse);
    return out.data;
}

/* A line that begins so, blanks taken together. */
static bool has_line(const char *text, const char *line)
{
    while (text != NULL) {
        const char *at = text, *wanted = line;
        while (*wanted != '\0' && (*at == *wanted || (*at == ' ' && wanted > line && wanted[-1] == ' '))) {
            wanted += *at == *wanted;
            at++;
        }
        if (*wanted == '\0')
            return true;
        text = strchr(text, '\n');
        text = text == NULL ? NULL : text + 1;
    }
    return false;
}

/* A value, its column, and what is said of it, where `first` was the column's first value (NULL: it is itself). */
static void test_values(void)
{
    static const struct {
        const char *first, *data, *line;
        bool is;
    } cases[] = {
        {NULL, "{\"value\":1200}", "  data_value bigint data.value", true},
        {NULL, "{\"value\":1200.5}", "  data_value numeric data.value", true},
        {"{\"value\":1}", "{\"value\":1200.5}", "  warning: data.value loses its decimals", true},
        {"{\"value\":1}", "{\"value\":-0.99}", "  warning: data.value loses its decimals", true},
        {"{\"value\":1.5}", "{\"value\":2}", "  warning: data.value", false},
        {NULL, "{\"value\":12345678901234567890}", "  warning: data.value is beyond what a bigint holds", true},
        {NULL, "{\"value\":9007199254740993}", "  warning: data.value has more digits", true},
        {NULL, "{\"value\":9007199254740992}", "  warning: data.value", false},
        {"{\"x\":\"2026-01-15\"}", "{\"x\":\"text\"}", "  warning: data.x is NULL, and kept in rudder_discards", true},
        {"{\"x\":1}", "{\"x\":\"text\"}", "  warning: data.x is NULL, and kept in rudder_discards", true},
        {"{\"x\":true}", "{\"x\":\"text\"}", "  warning: data.x is NULL, and kept in rudder_discards", true},
        {"{\"x\":\"text\"}", "{\"x\":1}", "  warning: data.x", false},
        {NULL, "{\"note\":\"2026-01-15\"}", "  warning: data.note looks like a date", true},
        {NULL, "{\"note\":\"2026-01-15\"}", "  data_note timestamptz data.note", true},
        {NULL, "{\"date_won\":\"2026-01-15\"}", "  warning: data.date_won looks like a date", false},
        {NULL, "{\"date_won\":\"2026-01-15\"}", "  warning: data.date_won is a date alone", true},
        {NULL, "{\"date_won\":\"2026-02-31\"}", "  warning: data.date_won is a day that there is not", true},
        {NULL, "{\"date_won\":\"2024-02-29\"}", "  warning: data.date_won is a day", false},
        {NULL, "{\"date_x\":\"2019-01-15T12:41:24.496123+00:00\"}", "  warning: data.date_x is cut to milliseconds",
         true},
        {NULL, "{\"date_x\":\"2019-01-15T12:41:24.496000+00:00\"}", "  warning: data.date_x", false},
        {NULL, "{\"a\":\"\",\"b\":[],\"c\":{},\"d\":[\"\"]}",
         "  warning: empty, which is NULL, and no column where it is the first: data.a, data.b, data.c, data.d\n",
         true},
        {NULL, "{\"emails\":[{\"email\":\"a@b\"}]}", "  data_emails text data.emails", true},
        {NULL, "{\"envelope\":{\"from\":{\"x\":1}}}", "  data_envelope_from_x bigint data.envelope.from.x", true},
        {NULL, "{\"user_id\":\"u\"}", "  data_user_id text data.user_id", true},
        {NULL, "{}", "  warning: user_id has no column", true},
        {NULL, "{}", "  warning: id has no column", true},
        {NULL, "{}", "ev_1: a row of ", true},
        {NULL, "{\"a-b\":1,\"a_b\":2}", "  warning: data.a-b is lost: data.a_b is in the same column, data_a_b", true},
        {NULL, "{\"custom.cf_v6S011I6MqcbVvB2FA5Nk8dr5MkL8sWuCiG8cUleO9c\":1}",
         "  warning: data.custom.cf_v6S011I6MqcbVvB2FA5Nk8dr5MkL8sWuCiG8cUleO9c has a longer name", true},
        {NULL, "{\"\xC3\xA9\":1}", "  data_ bigint", false},
    };
    static const struct rules none;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *data[] = {cases[i].first, cases[i].data};
        bool has_first = cases[i].first != NULL;
        char *text = describe(data + !has_first, has_first ? 2 : 1, &none);
        if (has_line(text, cases[i].line) != cases[i].is)
            printf("\n    %s: %s\n%s", cases[i].data, cases[i].line, text);
        CU_ASSERT_EQUAL(has_line(text, cases[i].line), cases[i].is);
        free(text);
    }
}

/* What the three recommended lines are for. */
static void test_recommended(void)
{
    static const struct rules recommended = {
        .json_columns = true, .close_context = true, .previous_data = true, .changed_fields = true};
    const char *data[] = {"{\"value\":1}", "{\"value\":1200.5,\"note\":\"2026-01-15\",\"a\":\"\"}", "{}"};
    for (size_t count = 2; count <= 3; count++) {
        char *text = describe(data, count, &recommended);
        CU_ASSERT_TRUE(has_line(text, "  data jsonb data\n"));
        CU_ASSERT_TRUE(has_line(text, "  context_close_user_id text context.close.user_id\n"));
        CU_ASSERT_PTR_NULL(strstr(text, "data_value"));
        CU_ASSERT_FALSE(has_line(text, "  warning: data"));
        CU_ASSERT_FALSE(has_line(text, "  warning: empty"));
        free(text);
    }
}

static char *many_members(size_t count)
{
    struct buffer data = {0};
    char member[64];
    buffer_text(&data, "{");
    for (size_t i = 0; i < count; i++) {
        snprintf(member, sizeof member, "%s\"m%zux\":\"a text that is longer than that\"", i > 0 ? "," : "", i);
        buffer_text(&data, member);
    }
    buffer_append(&data, "}", 2);
    return data.data;
}

static void test_room(void)
{
    static const struct {
        size_t members;
        bool row_fits, is_there;
    } cases[] = {{400, true, true}, {460, false, true}, {1600, false, false}};
    static const struct rules none;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *many = many_members(cases[i].members);
        const char *data[] = {many};
        char *text = describe(data, 1, &none);
        CU_ASSERT_EQUAL(has_line(text, "  warning: the whole event vanishes"), !cases[i].is_there);
        CU_ASSERT_EQUAL(has_line(text, "  warning: the whole table cannot be loaded"),
                        cases[i].is_there && !cases[i].row_fits);
        free(text);
        free(many);
    }
}

static void test_command(void)
{
    static struct ran ran;
    char *body = tool_file("tests/data/opportunity-updated.webhook.json");
    configuration_use("data_plane_url = https://h.example\nwrite_key = k\n");
    RUN(&ran, body, "transform", "--warehouse", "postgres");
    CU_ASSERT_EQUAL(ran.code, 0);
    CU_ASSERT_TRUE(has_line(ran.out, "ev_2sYKRjcrA79yKxi3S4Crd7: a row of 51 columns in table opportunity_updated"));
    CU_ASSERT_TRUE(has_line(ran.out, "  data_value bigint data.value\n"));
    CU_ASSERT_TRUE(has_line(ran.out, "  warning: user_id has no column"));
    RUN(&ran, body, "transform", "--warehouse", "oracle");
    CU_ASSERT_EQUAL(ran.code, 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "--warehouse oracle is not known; there is: postgres\n"));
    configuration_forget();
    free(body);
}

/* The tables that an identify and an alias are rows of. */
static void test_person(void)
{
    static const char *const lines[] = {
        ": a row of 21 columns in table identifies\n",
        ": a row of 20 columns in table users where \"Skip User Table\" is off\n",
        ": a row of 19 columns in table aliases\n",
        "  name text name\n",
        "  addresses jsonb addresses\n",
        "  cf_1 jsonb cf_1\n",
        "  context_close_event_id text context.close.event_id\n",
        "  previous_id text (RudderStack's own)\n",
    };
    static struct ran ran;
    configuration_use("data_plane_url = https://h.example\nwrite_key = k\nidentify = yes\nalias = yes\n"
                      "traits = cf_1\nwarehouse = json\ncontext = close\n");
    RUN(&ran,
        "{\"event\":{\"id\":\"ev_1\",\"object_type\":\"lead\",\"action\":\"updated\",\"lead_id\":\"l\",\"data\":{"
        "\"name\":\"K\",\"addresses\":[{\"city\":\"Bonn\"}],\"custom.cf_1\":1.5}}}\n"
        "{\"event\":{\"id\":\"ev_2\",\"object_type\":\"lead\",\"action\":\"merged\",\"lead_id\":\"l\",\"meta\":{"
        "\"merge_source_lead_id\":\"a\",\"merge_destination_lead_id\":\"l\"}}}\n",
        "transform", "--warehouse", "postgres");
    CU_ASSERT_EQUAL(ran.code, 0);
    for (size_t i = 0; i < COUNT(lines); i++) {
        bool is = *lines[i] == ':' ? strstr(ran.out, lines[i]) != NULL : has_line(ran.out, lines[i]);
        if (!is)
            printf("\n    %s is not in %s", lines[i], ran.out);
        CU_ASSERT_TRUE(is);
    }
    configuration_forget();
}

void suite_transform_warehouse_rows(void)
{
    static CU_TestInfo tests[] = {
        {"names of tables and columns", test_names},
        {"texts that are dates", test_dates},
        {"values, and the first one decides", test_values},
        {"with the recommended lines", test_recommended},
        {"many columns", test_room},
        {"transform --warehouse", test_command},
        {"the rows of identify and alias", test_person},
        CU_TEST_INFO_NULL,
    };
    suite_add("transform warehouse rows", NULL, NULL, tests);
}
