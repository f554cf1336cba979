/* The keys about Close's API. */
#include "tests/suites.h"

#include <string.h>

#include "tests/support/config_text.h"

#define ABOVE "data_plane_url = https://h\nwrite_key = w\n"

static struct config *read_good(const char *text)
{
    struct error why = {0};
    struct config *config = read_text(text, NULL, &why);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    return config;
}

static void without_a_key(void)
{
    struct config *config = read_good(ABOVE);
    CU_ASSERT_PTR_NULL(config->source[0].close_api_key);
    CU_ASSERT_STRING_EQUAL(config->source[0].close_api_url, "https://api.close.com/api/v1");
    CU_ASSERT_EQUAL(config->source[0].reconcile_interval_ms, 15 * 60000);
    CU_ASSERT_EQUAL(config->source[0].auto_resume, ANSWER_NO);
    config_free(config);
}

static void all_of_them(void)
{
    struct config *config = read_good("data_plane_url = https://h\nreconcile_interval = 1h\nauto_resume = yes\n"
                                      "[source a]\nwrite_key = a\nclose_api_key = api_1.x\n"
                                      "[source b]\nwrite_key = b\nclose_api_key = api_1.x\nauto_resume = no\n"
                                      "close_api_url = http://127.0.0.1:8080/api/v1/\nreconcile_interval = 0s\n");
    CU_ASSERT_STRING_EQUAL(config->source[0].close_api_key, "api_1.x");
    CU_ASSERT_EQUAL(config->source[0].auto_resume, ANSWER_YES);
    CU_ASSERT_EQUAL(config->source[0].reconcile_interval_ms, 3600000);
    CU_ASSERT_STRING_EQUAL(config->source[1].close_api_key, "api_1.x"); /* one organization, two sources */
    CU_ASSERT_STRING_EQUAL(config->source[1].close_api_url, "http://127.0.0.1:8080/api/v1");
    CU_ASSERT_EQUAL(config->source[1].auto_resume, ANSWER_NO);
    CU_ASSERT_EQUAL(config->source[1].reconcile_interval_ms, 0);
    config_free(config);
}

static void mistakes(void)
{
    static const struct {
        const char *line, *words;
    } rows[] = {
        {"close_api_key = two words\n", "the one bare key"},
        {"close_api_key = \"quoted\"\n", "stands in quotes"},
        {"close_api_key = half\"quoted\n", "the one bare key"},
        {"close_api_key = user:password\n", "the one bare key"},
        {"close_api_url = ftp://x\n", "must begin with https:// or http://"},
        {"close_api_url = https://key@api.close.com/\n", "the key goes into close_api_key"},
        {"close_api_url = https://api.close.com/?k=1\n", "the key goes into close_api_key"},
        {"auto_resume = maybe\n", "one of no, yes"},
        {"reconcile_interval = often\n", "a duration"},
        {"reconcile_interval = 8d\n", "from 0s to 7d"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[300];
        struct error why = {0};
        snprintf(text, sizeof text, ABOVE "%s", rows[i].line);
        struct config *config = read_text(text, NULL, &why);
        CU_ASSERT_PTR_NULL(config);
        if (strstr(why.text, rows[i].words) == NULL)
            fprintf(stderr, "\nexpected: %s\n   found: %s\n", rows[i].words, why.text);
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, rows[i].words));
        CU_ASSERT_PTR_NULL(strstr(why.text, "password"));
        config_free(config);
    }
}

void suite_config_close(void)
{
    static CU_TestInfo tests[] = {
        {"without a key there are defaults", without_a_key},
        {"all of them, per source and for all", all_of_them},
        {"mistakes say what to do, and show no key", mistakes},
        CU_TEST_INFO_NULL,
    };
    suite_add("config close", NULL, NULL, tests);
}
