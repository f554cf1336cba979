/* Stopping, reloading, upgrading with the durable queue, under load: no request whose body was complete fails, and all
 * that was answered 200 is delivered. */
#include "tests/suites.h"
#include <poll.h>

#include <signal.h>
#include <stdio.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"

#define STOPPED_MS 3000   /* mod_fcgid kills what has not ended by then */
#define RELOADED_MS 60000 /* a changed file must stand unchanged for 5 s first */
#define STEP 300          /* requests between what is done */

/* Something that is done to the program under load. Returns when it has taken effect. */
typedef void act_function(struct site *site);

/* Does it, `times` times; afterwards every request was answered 200, and all is delivered. */
static void check_under_load(const struct setup *setup, const char *const *wrapper, act_function *act, size_t times)
{
    struct site site;
    if (durable_open(&site, setup, NULL)) {
        if (wrapper != NULL) {
            CU_ASSERT(durable_start_anew(&site, wrapper));
        }
        struct load_options options = durable_load(&site);
        options.pause_ms = 5;
        struct load *load = load_start(&options);
        for (size_t i = 1; i <= times; i++) {
            CU_ASSERT(load_wait(load, i * STEP, durable_patience(60000)));
            act(&site);
        }
        CU_ASSERT(load_wait(load, (times + 1) * STEP, durable_patience(60000)));
        load_stop(load);
        struct load_result result = load_finish(load);
        check(result.ok == result.sent, "%zu of %zu are answered 200, else %d", result.ok, result.sent, result.other);
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        durable_check_delivered(&site, load, result);
        load_free(load);
    }
    site_close(&site);
}

static void wait_starts(const struct site *site, size_t before)
{
    check(site_wait_logged(site, "msg=started", before + 1, durable_patience(RELOADED_MS)), "it starts anew");
}

static void hang_up(struct site *site)
{
    size_t before = site_count_logged(site, "msg=started");
    durable_signal(site->program.pid, SIGHUP);
    wait_starts(site, before);
}

static void change_configuration(struct site *site)
{
    size_t before = site_count_logged(site, "msg=started");
    durable_configure(site, "log_level = debug");
    wait_starts(site, before);
}

static void replace_program(struct site *site)
{
    size_t before = site_count_logged(site, "msg=started");
    CU_ASSERT(temporary_copy(site->directory, "closecrm.fcgi", 0755, program_under_test()));
    wait_starts(site, before);
}

/* One process, which a supervisor starts again; the socket stays the supervisor's. */
static void stop_supervised(struct site *site)
{
    pid_t pids[DURABLE_PROCESSES];
    size_t before = site_count_logged(site, "msg=started");
    CU_ASSERT_EQUAL_FATAL(durable_processes(site, pids), 1);
    durable_signal(pids[0], SIGTERM);
    wait_starts(site, before);
}

static void sighup(void)
{
    check_under_load(&setup_lighttpd_spawn, NULL, hang_up, 5);
}

static void sighup_kept_connections(void)
{
    check_under_load(&setup_apache_proxy, NULL, hang_up, 3);
}

static void changed_configuration(void)
{
    check_under_load(&setup_lighttpd_spawn, NULL, change_configuration, 1);
}

static void replaced_program(void)
{
    check_under_load(&setup_lighttpd_spawn, NULL, replace_program, 1);
}

static void sigterm_with_a_supervisor(void)
{
    static const char *const again[] = {"/bin/sh", "-c", "while \"$0\"; do :; done", NULL};
    check_under_load(&setup_lighttpd_spawn, again, stop_supervised, 5);
}

/* The one that forwards is told to stop, while others on the same socket go on. */
static void stop_the_forwarder(struct site *site)
{
    size_t before = site_count_logged(site, "msg=stopping");
    pid_t forwarder = durable_forwarder(site);
    durable_signal(forwarder, SIGTERM);
    CU_ASSERT(site_wait_logged(site, "msg=stopping", before + 1, durable_patience(60000)));
    moment deadline = clock_now() + durable_patience(60000);
    while (durable_forwarder(site) == forwarder && clock_now() < deadline)
        poll(NULL, 0, 10);
    CU_ASSERT_NOT_EQUAL(durable_forwarder(site), forwarder); /* another has taken over */
}

static void sigterm_of_one_among_several(void)
{
    check_under_load(&setup_lighttpd_spawn, durable_many("4"), stop_the_forwarder, 3);
}

/* It ends, with a data plane that hangs, and what waits is there afterwards. Returns whether it did in time. */
static bool stop_while_the_data_plane_hangs(void)
{
    struct site site;
    bool in_time = false;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        struct load_options options = durable_load(&site);
        int status = -1;
        options.count = 500;
        standin_fail(site.standin, &(struct standin_fault){.act = STANDIN_HOLD, .times = STANDIN_ALWAYS});
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        CU_ASSERT_EQUAL(result.ok, options.count);
        CU_ASSERT(standin_wait_held(site.standin, 1, durable_patience(60000)));
        moment asked = clock_now();
        durable_signal(site.program.pid, SIGTERM);
        CU_ASSERT(process_wait(&site.program, durable_patience(60000), &status));
        in_time = clock_now() - asked < durable_patience(STOPPED_MS);
        CU_ASSERT_EQUAL(status, 0);
        standin_heal(site.standin);
        CU_ASSERT(site_spawn(&site));
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        durable_check_delivered(&site, load, result);
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
    return in_time;
}

/* A machine that has much else to do may take longer at times, a program that waits for something would always. */
static void sigterm_while_the_data_plane_hangs(void)
{
    bool in_time = false;
    for (int i = 0; i < 3 && !in_time; i++)
        in_time = stop_while_the_data_plane_hangs();
    CU_ASSERT(in_time);
}

static CU_TestInfo tests[] = {
    {"SIGHUP", sighup},
    {"SIGHUP, Apache's kept connections", sighup_kept_connections},
    {"a changed configuration", changed_configuration},
    {"a replaced program", replaced_program},
    {"SIGTERM, and a supervisor that starts it again", sigterm_with_a_supervisor},
    {"SIGTERM of one process among four", sigterm_of_one_among_several},
    {"SIGTERM while the data plane hangs", sigterm_while_the_data_plane_hangs},
    CU_TEST_INFO_NULL,
};

void suite_durable_lifecycle_postgresql(void)
{
    suite_add("durable lifecycle postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}

void suite_durable_lifecycle(void)
{
    suite_add("durable lifecycle", NULL, NULL, tests);
}
