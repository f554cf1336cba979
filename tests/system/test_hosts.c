/* Hosts as people have them: what started the program ignores and blocks signals; there is no /proc. */
#include "tests/suites.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>

#include "queue/sqlite/store.h"
#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/running.h"

#define SOON_MS 60000

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
    CU_ASSERT(process_wait(&site->program, durable_patience(SOON_MS), &status));
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

/* Covers /proc for the children that are started from now on; the sanitizers' programs do not start without their own
 * part of it. Returns whether it could: root only. */
static bool cover_proc(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    static const char type[] = "proc", options[] = "hidepid=2,subset=pid";
#else
    static const char type[] = "tmpfs", options[] = "mode=0";
#endif
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount(type, "/proc", type, 0, options) == 0;
}

/* The test needs it; the children keep theirs. */
static bool uncover_proc(void)
{
    return unshare(CLONE_NEWNS) == 0 && umount2("/proc", MNT_DETACH) == 0;
}

static void without_proc(void)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        process_stop(&site.program, SOON_MS);
        bool covered = check(cover_proc(), "root can cover /proc");
        bool started = covered && site_spawn(&site);
        if (covered)
            check(uncover_proc(), "/proc is there again");
        if (started)
            check_lives(&site);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void a_beat_without_a_boot(void)
{
    CU_ASSERT(beat_is_of("host 1-2 33\n", "host 1-2"));
    CU_ASSERT(beat_is_of("host ? 33\n", "host 1-2"));
    CU_ASSERT(beat_is_of("host 1-2 33\n", "host ?"));
    CU_ASSERT_FALSE(beat_is_of("host 1-3 33\n", "host 1-2"));
    CU_ASSERT_FALSE(beat_is_of("host 1-23 33\n", "host 1-2"));
    CU_ASSERT_FALSE(beat_is_of("other ? 33\n", "host ?"));
    CU_ASSERT_FALSE(beat_is_of("hosts ? 33\n", "host ?"));
}

void suite_hosts(void)
{
    static CU_TestInfo tests[] = {
        {"signals ignored and blocked", signals_ignored_and_blocked},
        {"no /proc", without_proc},
        {"a beat without a boot", a_beat_without_a_boot},
        CU_TEST_INFO_NULL,
    };
    suite_add("hosts", NULL, NULL, tests);
}
