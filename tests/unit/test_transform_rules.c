/* The operator's choices: keep, drop and remove. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/suites.h"
#include "tests/support/transform_tools.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static enum transform_result result(const char *object_type, const char *action, const struct rules *rules)
{
    char body[256];
    sprintf(body, "{\"event\":{\"object_type\":\"%s\",\"action\":\"%s\"}}", object_type, action);
    struct parsed *parsed = transform_parse(body, strlen(body), NULL, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(parsed);
    struct buffer out = {0};
    enum transform_result made = transform_message(parsed, rules, false, &out);
    CU_ASSERT_EQUAL(out.length > 0, made == TRANSFORM_OK);
    parsed_free(parsed);
    buffer_free(&out);
    return made;
}

static void test_patterns(void)
{
    static const struct {
        const char *pattern;
        const char *object_type;
        const char *action;
        bool matches;
    } cases[] = {
        {"lead.updated", "lead", "updated", true},
        {"lead.updated", "lead", "created", false},
        {"lead.update", "lead", "updated", false},
        {"lead.updatedx", "lead", "updated", false},
        {"Lead.updated", "lead", "updated", false},
        {"lead updated", "lead", "updated", false},
        {"*", "lead", "updated", true},
        {"**", "lead", "updated", true},
        {"", "lead", "updated", false},
        {"lead.*", "lead", "updated", true},
        {"lead.*", "task.lead", "updated", false},
        {"*.deleted", "activity.email", "deleted", true},
        {"*.deleted", "activity.email", "undeleted", false},
        {"*deleted", "activity.email", "undeleted", true},
        {"activity.*", "activity.email", "sent", true},
        {"activity.email.created", "activity.email", "created", true},
        {"activity.email.*", "activity.email_thread", "created", false},
        {"activity.email*", "activity.email_thread", "created", true},
        {"activity.*.created", "activity.email", "created", true},
        {"activity.*.created", "activity", "created", false},
        {"*.*.*", "activity.email", "created", true},
        {"*.*.*", "lead", "created", false},
        {"*a*a*b", "aaaa", "aab", true},
        {"*a*a*c", "aaaa", "aab", false},
        {"l*d.u*d", "lead", "updated", true},
        {"lead.updated*", "lead", "updated", true},
        {"*lead.updated", "lead", "updated", true},
        {"lead?updated", "lead", "updated", false},
        {"lead*updated", "lead", "updated", true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *pattern[] = {strdup(cases[i].pattern)};
        struct rules keep = {.keep = pattern, .keeps = 1};
        struct rules drop = {.drop = pattern, .drops = 1};
        CU_ASSERT_EQUAL(result(cases[i].object_type, cases[i].action, &keep),
                        cases[i].matches ? TRANSFORM_OK : TRANSFORM_DROPPED);
        CU_ASSERT_EQUAL(result(cases[i].object_type, cases[i].action, &drop),
                        cases[i].matches ? TRANSFORM_DROPPED : TRANSFORM_OK);
        free(pattern[0]);
    }
}

static void test_lists(void)
{
    char *keep[] = {(char[]){"lead.*"}, (char[]){"contact.*"}};
    char *drop[] = {(char[]){"*.deleted"}, (char[]){"contact.merged"}};
    struct rules rules = {.keep = keep, .keeps = COUNT(keep), .drop = drop, .drops = COUNT(drop)};
    CU_ASSERT_EQUAL(result("lead", "updated", &rules), TRANSFORM_OK);
    CU_ASSERT_EQUAL(result("contact", "updated", &rules), TRANSFORM_OK);
    CU_ASSERT_EQUAL(result("lead", "deleted", &rules), TRANSFORM_DROPPED);
    CU_ASSERT_EQUAL(result("contact", "merged", &rules), TRANSFORM_DROPPED);
    CU_ASSERT_EQUAL(result("opportunity", "updated", &rules), TRANSFORM_DROPPED);
    static const struct rules none;
    CU_ASSERT_EQUAL(result("opportunity", "deleted", &none), TRANSFORM_OK);
}

/* Asserts which properties are left of an event with these members when this path is removed. */
static void check_removed(const char *path, const char *members, const char *left)
{
    char body[1024];
    char expected[1024];
    char *paths[] = {strdup(path)};
    struct rules rules = {.remove = paths, .removes = 1};
    sprintf(body, "{\"event\":{\"object_type\":\"a\",\"action\":\"b\",%s}}", members);
    sprintf(expected, "\"properties\":{\"object_type\":\"a\",\"action\":\"b\"%s%s}}", *left == '\0' ? "" : ",", left);
    char *message = tool_message(body, strlen(body), &rules, false);
    const char *properties = strstr(message, "\"properties\":");
    CU_ASSERT_PTR_NOT_NULL_FATAL(properties);
    if (strcmp(properties, expected) != 0)
        printf("\n    without %s: %s", path, properties);
    CU_ASSERT_STRING_EQUAL(properties, expected);
    free(message);
    free(paths[0]);
}

static void test_remove(void)
{
    static const char *const cases[][3] = {
        {"data.body_html", "\"data\":{\"body_html\":\"<p>\",\"x\":1}", "\"data\":{\"x\":1}"},
        {"data.body_html", "\"data\":{\"body_html\":\"<p>\"}", "\"data\":{}"},
        {"data.body_html", "\"body_html\":1,\"data\":{\"x\":{\"body_html\":1}}",
         "\"body_html\":1,\"data\":{\"x\":{\"body_html\":1}}"},
        {"data.body_html", "\"data\":\"body_html\"", "\"data\":\"body_html\""},
        {"data.body_html", "\"data\":{\"body_html_2\":1,\"body\":2,\"Body_html\":3}",
         "\"data\":{\"body_html_2\":1,\"body\":2,\"Body_html\":3}"},
        {"data", "\"data\":{\"x\":1},\"datax\":2", "\"datax\":2"},
        {"data.a.b.c", "\"data\":{\"a\":{\"b\":{\"c\":1,\"d\":2}}}", "\"data\":{\"a\":{\"b\":{\"d\":2}}}"},
        {"data.custom.cf_abc", "\"data\":{\"custom.cf_abc\":1,\"custom.cf_abd\":2}", "\"data\":{\"custom.cf_abd\":2}"},
        {"data.custom.cf_abc", "\"data\":{\"custom\":{\"cf_abc\":1,\"cf_abd\":2}}",
         "\"data\":{\"custom\":{\"cf_abd\":2}}"},
        {"data.custom.cf_abc", "\"data\":{\"custom\":{\"cf_abc\":1},\"custom.cf_abc\":2}", "\"data\":{\"custom\":{}}"},
        {"data.custom.cf_abc", "\"data.custom\":{\"cf_abc\":1},\"data.custom.cf_abc\":2,\"x\":3",
         "\"data.custom\":{},\"x\":3"},
        {"data.to.email", "\"data\":{\"to\":[{\"email\":\"a\",\"name\":\"n\"},{\"email\":\"b\"},3,null]}",
         "\"data\":{\"to\":[{\"name\":\"n\"},{},3,null]}"},
        {"data.to.email", "\"data\":[[{\"to\":{\"email\":\"a\"}}]]", "\"data\":[[{\"to\":{}}]]"},
        {"data.*", "\"data\":{\"x\":1}", "\"data\":{\"x\":1}"},
        {"data.", "\"data\":{\"\":1,\"x\":2}", "\"data\":{\"x\":2}"},
        {"", "\"x\":1", "\"x\":1"},
        {"nothing.of.it", "\"x\":1", "\"x\":1"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        check_removed(cases[i][0], cases[i][1], cases[i][2]);
}

/* Who, which and when stay known, even where their members may not be sent. */
static void test_remove_spares_the_message(void)
{
    const char *body = "{\"event\":{\"object_type\":\"a\",\"action\":\"b\",\"id\":\"ev_1\",\"lead_id\":\"lead_1\","
                       "\"date_updated\":\"2019-01-15T12:48:23\",\"x\":1},\"subscription_id\":\"s\"}";
    char *paths[] = {(char[]){"id"},          (char[]){"lead_id"}, (char[]){"date_updated"},
                     (char[]){"object_type"}, (char[]){"action"},  (char[]){"subscription_id"}};
    struct rules rules = {.remove = paths, .removes = COUNT(paths)};
    char *message = tool_message(body, strlen(body), &rules, false);
    CU_ASSERT_PTR_NOT_NULL(strstr(message, "\"event\":\"a b\",\"userId\":\"lead_1\",\"messageId\":\"ev_1\","
                                           "\"originalTimestamp\":\"2019-01-15T12:48:23.000+00:00\","
                                           "\"properties\":{\"x\":1}}"));
    free(message);
}

void suite_transform_rules(void)
{
    static CU_TestInfo tests[] = {
        {"patterns", test_patterns}, {"lists of keep and drop", test_lists},
        {"remove", test_remove},     {"remove does not touch who, which and when", test_remove_spares_the_message},
        CU_TEST_INFO_NULL,
    };
    suite_add("transform rules", NULL, NULL, tests);
}
