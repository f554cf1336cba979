/* A state directory that is away is not made anew. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/inspect.h"
#include "tests/suites.h"
#include "tests/support/commands_made.h"
#include "tests/support/commands_run.h"
#include "tests/support/temporary.h"

static struct ran ran;

/* Its disk is not mounted, or it was renamed: an empty one in its place would take events and know no key. */
static void one_that_was_there_is_not_made_anew(void)
{
    char known[PATH_SIZE], away[PATH_SIZE];
    struct stat status;
    struct error why = {0};
    static char *nothing[] = {NULL};
    made_begin();
    struct config *config = config_read(getenv("CLOSECRM_CONFIG"), nothing, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    path_join(away, made_state(), "..");
    CU_ASSERT_EQUAL(chown(away, geteuid(), getegid()), 0); /* of this user, as the configuration's folder is */
    struct queue *queue = queue_open(config, &why);
    CU_ASSERT_PTR_NOT_NULL(queue);
    queue_close(queue);
    snprintf(away, sizeof away, "%.*s.away", PATH_SIZE - 10, made_state());
    CU_ASSERT_EQUAL(rename(made_state(), away), 0);
    CU_ASSERT_PTR_NULL(queue_open(config, &why)); /* as cron and the web server's program do */
    CU_ASSERT_EQUAL(why.kind, ERROR_MISSING);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, " is gone: put it back"));
    RUN(&ran, NULL, "cron");
    CU_ASSERT_TRUE(ran.code != 0 && strstr(ran.err, " is gone: put it back") != NULL);
    RUN(&ran, NULL, "check");
    CU_ASSERT_TRUE(ran.code == 1 && strstr(ran.out, "  WRONG: the state directory ") != NULL);
    RUN(&ran, NULL, "check", "--offline");
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, " is gone: put it back"));
    if (geteuid() == 0) { /* who cannot put one there, and is not told to put back what was moved aside for this */
        RUN(&ran, NULL, "restore", "/no/backup");
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "install -d -m 700 -o USER"));
    }
    CU_ASSERT_EQUAL(stat(made_state(), &status), -1);

    CU_ASSERT_EQUAL(rename(away, made_state()), 0);
    queue = queue_open(config, &why);
    CU_ASSERT_PTR_NOT_NULL(queue);
    queue_close(queue);

    CU_ASSERT_EQUAL(rename(made_state(), away), 0);
    snprintf(known, sizeof known, "%s.state_dir", config->path);
    const char *advised = strstr(why.text, known);
    CU_ASSERT_PTR_NOT_NULL(advised);
    CU_ASSERT_EQUAL(unlink(known), 0); /* what is advised to give it up */
    queue = queue_open(config, &why);
    CU_ASSERT_PTR_NOT_NULL(queue);
    queue_close(queue);
    config_free(config);
    made_end();
}

void suite_state_place(void)
{
    static CU_TestInfo tests[] = {
        {"one that was there is not made anew", one_that_was_there_is_not_made_anew},
        CU_TEST_INFO_NULL,
    };
    suite_add("state place", NULL, NULL, tests);
}
