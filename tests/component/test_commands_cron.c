/* cron: what it mails about the disk is so. */
#include "tests/suites.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/commands_made.h"
#include "tests/support/commands_run.h"
#include "tests/support/small_disk.h"

#define CLOSE_KEEPS "Close keeps new events meanwhile"

static struct ran ran;

/* That Close keeps events is said only where they are refused. */
static void a_disk_is_nearly_full_and_full(void)
{
    made_begin();
    if (small_disk_mount(made_state(), "24m")) {
        CU_ASSERT_EQUAL(chmod(made_state(), 0700), 0);
        CU_ASSERT_EQUAL(chown(made_state(), geteuid(), getegid()), 0);
        RUN(&ran, NULL, "cron", "--seconds", "1");
        CU_ASSERT_EQUAL(ran.code, 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "is nearly full ("));
        CU_ASSERT_PTR_NULL(strstr(ran.err, CLOSE_KEEPS));
        small_disk_fill(made_state(), "other");
        RUN(&ran, NULL, "cron", "--seconds", "1");
        CU_ASSERT_EQUAL(ran.code, 1);
        CU_ASSERT_PTR_NOT_NULL(strstr(ran.err, "the disk is full: make room on the disk; " CLOSE_KEEPS));
        CU_ASSERT_PTR_NULL(strstr(ran.err, "nearly full"));
        small_disk_unmount(made_state());
    }
    made_end();
}

void suite_commands_cron(void)
{
    static CU_TestInfo tests[] = {
        {"a disk is nearly full, and full", a_disk_is_nearly_full_and_full},
        CU_TEST_INFO_NULL,
    };
    suite_add("commands: cron", NULL, NULL, tests);
}
