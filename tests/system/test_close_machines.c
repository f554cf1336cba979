/* Machines that share a queue in PostgreSQL: state directories under which the program runs in turn. A second one has
 * the keys that the first obtained, and goes on where it was killed. */
#include "tests/suites.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/close_site.h"
#include "tests/support/durable.h"

#define PATIENCE_MS 60000

static const struct standin_close_options usual = {.retry_ms = 20, .failures_most = 30};

/* From now on the program, and what is run, is another machine's. */
static void become(struct close_site *site, const char *machine)
{
    char line[64], path[PATH_SIZE];
    snprintf(line, sizeof line, "state_dir = %s", machine);
    close_site_configure(site, NULL, NULL, line);
    temporary_directory(site->site.directory, machine); /* the second time it is there */
    path_join(path, site->site.directory, machine);
    CU_ASSERT_EQUAL(chmod(path, 0700), 0);
}

static void another_machine_has_the_key(void)
{
    struct close_site site;
    char id[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
        standin_close_id(site.close, 0, id);
        close_site_stop_program(&site);
        become(&site, "second");
        CU_ASSERT(close_site_start_program(&site));
        close_site_add(&site, "ev", 0, 10);
        CU_ASSERT(standin_wait_messages(site.site.standin, 10, PATIENCE_MS));
        CU_ASSERT(close_site_arrived(&site, "ev_0", id));
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "check"), 0);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "rotate"), 0); /* one begins a rotation */
        close_site_add(&site, "ev", 10, 10);
        CU_ASSERT(standin_wait_messages(site.site.standin, 20, PATIENCE_MS));
        become(&site, "state");
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "rotate"), 0); /* another sees it */
        check(strstr(site.said, "is taking the place of") != NULL, "it is under way: %s", site.said);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 2);
    }
    close_site_close(&site);
}

static void another_machine_goes_on_reconciling(void)
{
    struct close_site site;
    char id[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        static const char *const arguments[] = {"reconcile", NULL};
        struct process process = {0};
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
        standin_close_id(site.close, 0, id);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 0);
        for (unsigned i = 0; i < 20; i++) {
            char name[40];
            snprintf(name, sizeof name, "ev_%u", i);
            standin_close_add(site.close, &(struct close_event){.id = name, .lead = "lead_1", .log_only = true});
        }
        standin_close_move_clock(site.close, 600000);
        standin_close_fail(site.close, &(struct close_fault){"GET /event", CLOSE_HOLD, 1, 0, NULL});
        CU_ASSERT(close_site_start(&site, &process, arguments));
        CU_ASSERT(standin_close_wait_held(site.close, PATIENCE_MS));
        become(&site, "second");
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 1);
        check(strstr(site.said, " is at it now: try again when it has ended") != NULL, "who is at it: %s", site.said);
        CU_ASSERT_EQUAL(kill(process.pid, SIGKILL), 0);
        process_stop(&process, PATIENCE_MS);
        standin_close_heal(site.close);
        int code = 1; /* until the server has seen the end of the connection that has the lock */
        for (moment until = clock_now() + PATIENCE_MS; code != 0 && clock_now() < until;)
            code = CLOSE_RUN(&site, "reconcile");
        check(code == 0, "the other one reconciles: %s", site.said);
        CU_ASSERT(standin_wait_messages(site.site.standin, 20, PATIENCE_MS));
        become(&site, "state");
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 0);
        check(strstr(site.said, "0 were missing") != NULL, "nothing is left for the first: %s", site.said);
        CU_ASSERT_EQUAL(standin_counts(site.site.standin).messages, 20);
    }
    close_site_close(&site);
}

void suite_close_machines(void)
{
    static CU_TestInfo tests[] = {
        {"another machine has the key", another_machine_has_the_key},
        {"another machine goes on reconciling", another_machine_goes_on_reconciling},
        CU_TEST_INFO_NULL,
    };
    suite_add("close machines", durable_use_postgresql, durable_end_postgresql, tests);
}
