/* What an operator of `queue = postgresql` sees: addresses are judged when the configuration is read, and tried before
 * the program has ever run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/internal.h"
#ifdef CLOSECRM_POSTGRESQL
#include "queue/postgresql/libpq.h"
#endif
#include "tests/suites.h"
#include "tests/support/check.h"

#ifdef CLOSECRM_POSTGRESQL

/* Whether a configuration takes it. */
static bool is_taken(const char *url, struct error *why)
{
    bool from_file;
    *why = (struct error){.text = ""};
    return value_is_good(keys_find("queue_url", &from_file), url, why);
}

static bool libpq_takes(const char *url)
{
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    PQconninfoFree(options);
    return options != NULL;
}

/* An address is judged without libpq, whose grammar it is. */
static void the_configuration_and_libpq_judge_alike(void)
{
    static const char *const good[] = {
        "postgresql://u:p@h/d",
        "postgres://u@g:5433,h,[::1]:5434/d?sslmode=require&connect_timeout=9",
        "postgresql://u:%40%2F%3F%23%25@h:/d%20d",
        "postgresql:///d?user=u&host=%2Frun,/tmp&port=1,65535",
        "postgresql://u@/d?hostaddr=127.0.0.1",
        "postgresql://u@h/d?ssl=true&",
        "postgresql://u@h/d?",
    };
    static const char *const bad[] = {
        "postgresql://u@h/d?sslmode",
        "postgresql://u@h/d?sslmod=require",
        "postgresql://u@h/d?a=b=c",
        "postgresql://u:%zz@h/d",
        "postgresql://u:%00@h/d",
        "postgresql://u@[::1/d",
        "postgresql://u@[]/d",
        "postgresql://u@[::1]x/d",
        "mysql://u@h/d",
    };
    struct error why;
    char url[120];
    CU_ASSERT_TRUE_FATAL(libpq_load(&why));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        check(is_taken(good[i], &why) && libpq_takes(good[i]), "%s is taken: %s", good[i], why.text);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check(!is_taken(bad[i], &why) && !libpq_takes(bad[i]), "%s is refused", bad[i]);
    PQconninfoOption *options = PQconninfoParse("postgresql://", NULL);
    for (const PQconninfoOption *option = options; option != NULL && option->keyword != NULL; option++) {
        snprintf(url, sizeof url, "postgresql://u@h/d?%.60s=", option->keyword);
        check(is_taken(url, &why) || strstr(why.text, "does not know") == NULL, "%s is known: %s", url, why.text);
    }
    PQconninfoFree(options);
}

#else

static void the_configuration_and_libpq_judge_alike(void)
{
}

#endif

void suite_commands_postgresql(void)
{
    static CU_TestInfo tests[] = {
        {"the configuration and libpq judge alike", the_configuration_and_libpq_judge_alike},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: postgresql", NULL, NULL, tests);
}
