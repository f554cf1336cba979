/* Hosts as people have them: what started the program ignores and blocks signals, ... */
#include "tests/suites.h"

#include <signal.h>

#include "tests/system/check.h"
#include "tests/system/durable.h"
#include "tests/system/running.h"

#define SOON_MS 10000
#define STOPPED_MS 3000 /* mod_fcgid kills what has not ended by then */

/* Takes an event and delivers it, starts itself anew, takes another, and ends in time. */
static void check_lives(struct site *site)
{
    int status = -1;
    CU_ASSERT_EQUAL(site_send(site, "ev_1").status, 200);
    CU_ASSERT(standin_wait_messages(site->standin, 1, durable_patience(SOON_MS)));
    size_t before = site_count_logged(site, "msg=started");
    durable_signal(site->program.pid, SIGHUP);
    check(site_wait_logged(site, "msg=started", before + 1, durable_patience(SOON_MS)), "it starts anew");
    CU_ASSERT_EQUAL(site_send(site, "ev_2").status, 200);
    CU_ASSERT(standin_wait_messages(site->standin, 2, durable_patience(SOON_MS)));
    durable_signal(site->program.pid, SIGTERM);
    CU_ASSERT(process_wait(&site->program, durable_patience(STOPPED_MS), &status));
    CU_ASSERT_EQUAL(status, 0);
}

static void check_lives_with(const char *const *wrapper)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL) && durable_start_anew(&site, wrapper))
        check_lives(&site);
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void signals_ignored_and_blocked(void)
{
    static const char *const wrapper[] = {"/usr/bin/env", "--ignore-signal", "--block-signal", NULL};
    check_lives_with(wrapper);
}

void suite_life_hosts(void)
{
    static CU_TestInfo tests[] = {
        {"signals ignored and blocked", signals_ignored_and_blocked},
        CU_TEST_INFO_NULL,
    };
    suite_add("life hosts", NULL, NULL, tests);
}
