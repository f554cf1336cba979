/* What SQLite has open nobody else in the process opens: whatever the program does beside its forwarding, the kernel
 * still has its read lock on the database. Without it another program's look would delete the log under it. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/close_site.h"
#include "tests/support/looked.h"
#include "tests/support/read_lock.h"
#include "tests/support/running.h"

#define SOON_MS 60000

static bool has_read_lock(const struct site *site, const char *name)
{
    char path[PATH_SIZE];
    path_join(path, site->directory, name);
    return read_lock_is_held(site->program.pid, path);
}

static void check_locks(const struct site *site, const char *after)
{
    check(has_read_lock(site, "state/queue.db"), "after %s the database is locked", after);
    check(has_read_lock(site, "state/queue.db-shm"), "after %s the log's index is locked", after);
}

static void wait_for_lock(const struct site *site)
{
    moment deadline = clock_now() + SOON_MS;
    while (!has_read_lock(site, "state/queue.db-shm") && clock_now() < deadline)
        poll(NULL, 0, 10);
}

static void look(const struct site *site, const char *path)
{
    struct buffer out = {0};
    int status = looked_get(site, path, &out);
    check(status == 200, "%s: %d", path, status);
    buffer_free(&out);
    check_locks(site, path);
}

static void the_locks_stay_whatever_it_does(void)
{
    static const struct standin_close_options usual = {.retry_ms = 20, .failures_most = 30};
    static const char *const pages[] = {"/status", "/status?format=json", "/metrics", "/healthz"};
    struct close_site site = {.starts = 0};
    char copy[PATH_SIZE];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, LOOKED_CONFIG)) {
        wait_for_lock(&site.site);
        check_locks(&site.site, "the start");
        for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
            look(&site.site, pages[i]);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
        site.reconciles = true; /* the configuration is read anew, and the first reconcile is due at once */
        close_site_configure(&site, NULL, NULL, LOOKED_CONFIG);
        kill(site.site.program.pid, SIGHUP);
        CU_ASSERT(site_wait_logged(&site.site, "msg=reconciled", 1, SOON_MS));
        check_locks(&site.site, "a reload and a reconcile");
        look(&site.site, "/status");
        path_join(copy, site.site.directory, "state/copy.db");
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "queue", "backup", copy), 0);
        check_locks(&site.site, "a backup");
    }
    close_site_close(&site);
}

void suite_durable_locks(void)
{
    static CU_TestInfo tests[] = {
        {"the database stays locked, whatever it does", the_locks_stay_whatever_it_does},
        CU_TEST_INFO_NULL,
    };
    suite_add("durable locks", NULL, NULL, tests);
}
