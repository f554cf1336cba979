/* The log: foreign words made harmless. */
#include "tests/suites.h"
#include "watch/log.h"

#include <string.h>

static void quotes_control_characters(void)
{
    char out[LOG_QUOTED];
    CU_ASSERT_STRING_EQUAL(log_quote(out, "a\n\"b\\\xc3\xa9", 7), "\"a\\x0a'b\\x5c\\xc3\\xa9\"");
}

static void cuts_at_200_bytes(void)
{
    char out[LOG_QUOTED], text[300];
    memset(text, '\n', sizeof text);
    log_quote(out, text, sizeof text);
    CU_ASSERT_EQUAL(strlen(out), 1 + 200 * 4 + 1 + 3);
}

void suite_log(void)
{
    static CU_TestInfo tests[] = {
        {"control characters are quoted", quotes_control_characters},
        {"foreign words are cut at 200 bytes", cuts_at_200_bytes},
        CU_TEST_INFO_NULL,
    };
    suite_add("log", NULL, NULL, tests);
}
