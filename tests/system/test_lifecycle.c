/* Stopping, reloading, upgrading: no request is lost, and it takes no longer than web servers allow. Behind spawn-fcgi,
 * through lighttpd, which takes a new connection for each request, and Apache, which keeps them. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/load.h"
#include "tests/support/running.h"
#include "tests/support/site.h"

#define STOPPED_MS 3000   /* mod_fcgid kills what has not ended by then */
#define TRIES 3           /* of which one must be in time */
#define RELOADED_MS 60000 /* a changed file must stand unchanged for 5 s first */
#define SIGNALS 200
#define ARRIVED_MS 60000 /* from the durable queue, on a busy machine */

static struct load_options steady_load(const struct site *site)
{
    return (struct load_options){.url = site->url,
                                 .signature_key = ALPHA_SIGNATURE_KEY,
                                 .prefix = "ev",
                                 .count = 100000,
                                 .connections = 16,
                                 .marked = LOAD_NONE,
                                 .pause_ms = 10};
}

/* Waits until the program has started that often. */
static bool wait_starts(const struct site *site, size_t starts)
{
    return site_wait_logged(site, "msg=started", starts, RELOADED_MS);
}

/* Lets the load go on for a while and ends it: every request was answered 200 and arrived once, unaltered. With
 * queue = none it has arrived when it is answered; with the durable queue, which a changed configuration may have
 * brought, it arrives afterwards. */
static void check_nothing_lost(struct site *site, struct load *load, size_t already)
{
    CU_ASSERT(load_wait(load, already + 200, durable_patience(60000)));
    load_stop(load);
    struct load_result result = load_finish(load);
    check(result.ok == result.sent, "%zu of %zu are answered 200, else %d", result.ok, result.sent, result.other);
    CU_ASSERT(standin_wait_messages(site->standin, result.ok, durable_patience(ARRIVED_MS)));
    struct load_arrivals arrivals = load_report_arrivals(load, site->standin, ALPHA_WRITE_KEY);
    check(arrivals.times[1] == result.ok, "%zu of %zu arrived once", arrivals.times[1], result.ok);
    CU_ASSERT_EQUAL(arrivals.altered, 0);
    load_free(load);
}

/* SIGTERM: it ends with 0. Returns whether it did in time. */
static bool stops(struct site *site)
{
    int status = -1;
    moment asked = clock_now();
    kill(site->program.pid, SIGTERM);
    CU_ASSERT(process_wait(&site->program, durable_patience(60000), &status));
    CU_ASSERT_EQUAL(status, 0);
    return clock_now() - asked < durable_patience(STOPPED_MS);
}

/* A machine that has much else to do may take longer at times, a program that waits for something would always. */
static void check_in_time(bool (*stops_so)(void))
{
    bool in_time = false;
    for (int i = 0; i < TRIES && !in_time; i++)
        in_time = stops_so();
    check(in_time, "of %d times it has stopped within %d ms once", TRIES, STOPPED_MS);
}

static bool stop_when_idle(void)
{
    struct site site;
    bool in_time = false;
    if (site_open(&site, &setup_lighttpd_spawn, "queue = none")) {
        CU_ASSERT(
            site_wait_logged(&site, "msg=started", 1, durable_patience(60000))); /* before that a signal kills it */
        in_time = stops(&site);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
    return in_time;
}

static void stops_when_idle(void)
{
    check_in_time(stop_when_idle);
}

static bool stop_under_load(void)
{
    struct site site;
    bool in_time = false;
    if (site_open(&site, &setup_lighttpd_spawn, "queue = none")) {
        struct load_options options = steady_load(&site);
        options.pause_ms = 0;
        struct load *load = load_start(&options);
        CU_ASSERT(load_wait(load, 500, durable_patience(60000)));
        in_time = stops(&site);
        load_stop(load);
        struct load_result result = load_finish(load);
        size_t arrived = load_count_arrived(load, site.standin, 1);
        CU_ASSERT(result.ok >= 500);
        check(arrived == result.ok, "of %zu that were answered 200, %zu arrived once", result.ok, arrived);
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
    return in_time;
}

static void stops_under_load(void)
{
    check_in_time(stop_under_load);
}

/* The data plane hangs: what waits for it is told to come again, and the program ends in time all the same. */
static bool stop_while_the_data_plane_hangs(void)
{
    struct site site;
    bool in_time = false;
    if (site_open(&site, &setup_lighttpd_spawn, "queue = none")) {
        struct load_options options = steady_load(&site);
        options.count = options.connections = 1; /* surely in hand when the data plane holds it */
        standin_fail(site.standin, &(struct standin_fault){.act = STANDIN_HOLD, .times = STANDIN_ALWAYS});
        struct load *load = load_start(&options);
        CU_ASSERT(standin_wait_held(site.standin, 1, durable_patience(60000)));
        in_time = stops(&site);
        struct load_result result = load_finish(load);
        CU_ASSERT_EQUAL(result.ok, 0);
        CU_ASSERT_EQUAL(result.other, 503);
        standin_heal(site.standin);
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
    return in_time;
}

static void stops_while_the_data_plane_hangs(void)
{
    check_in_time(stop_while_the_data_plane_hangs);
}

static void check_sighup(const struct setup *setup)
{
    struct site site;
    if (site_open(&site, setup, "queue = none")) {
        struct load_options options = steady_load(&site);
        struct load *load = load_start(&options);
        for (size_t i = 1; i <= 3; i++) {
            CU_ASSERT(load_wait(load, i * 200, durable_patience(60000)));
            kill(site.program.pid, SIGHUP);
            check(wait_starts(&site, i + 1), "it starts anew after SIGHUP %zu", i);
        }
        check_nothing_lost(&site, load, 600);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void reloads_at_sighup(void)
{
    check_sighup(&setup_lighttpd_spawn);
}

static void reloads_and_keeps_kept_connections(void)
{
    check_sighup(&setup_apache_proxy);
}

/* Apache's own rule is to answer 503 for a minute after a connection failed. */
static void apache_tries_at_once_after_a_restart(void)
{
    struct site site;
    if (site_open(&site, &setup_apache_proxy, "queue = none")) {
        struct load_options options = steady_load(&site);
        options.count = options.connections = 4;
        static const int expected[] = {200, 503, 200};
        for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
            static const char *const prefixes[] = {"before", "without", "after"};
            options.prefix = prefixes[i];
            if (i == 1)
                CU_ASSERT_EQUAL(process_stop(&site.program, durable_patience(60000)), 0);
            if (i == 2)
                CU_ASSERT(site_spawn(&site));
            struct load *load = load_start(&options);
            load_finish(load);
            for (size_t at = 0; at < options.count; at++)
                check(load_status(load, at) == expected[i], "%s: %d, not %d", prefixes[i], expected[i],
                      load_status(load, at));
            load_free(load);
        }
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* The new configuration has the durable queue, so that the requests of one run end in both engines. */
static void reloads_a_changed_configuration(void)
{
    struct site site;
    if (durable_new_queue() && site_open(&site, &setup_lighttpd_spawn, "queue = none")) {
        struct load_options options = steady_load(&site);
        struct load *load = load_start(&options);
        CU_ASSERT(load_wait(load, 200, durable_patience(60000)));
        durable_configure(&site, "log_level = debug");
        CU_ASSERT(wait_starts(&site, 2));
        check_nothing_lost(&site, load, 200);
        CU_ASSERT(site_wait_logged(&site, "debug msg=", 1, durable_patience(60000)));
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void keeps_the_old_configuration_when_the_new_is_faulty(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, "queue = none")) {
        struct load_options options = steady_load(&site);
        struct load *load = load_start(&options);
        CU_ASSERT(load_wait(load, 200, durable_patience(60000)));
        site_configure(&site, "queue = none\nwriet_key = misspelt");
        CU_ASSERT(site_wait_logged(&site, "msg=not_reloaded", 1, RELOADED_MS));
        CU_ASSERT(site_count_logged(&site, "wriet_key") > 0);
        CU_ASSERT_EQUAL(site_count_logged(&site, "msg=started"), 1);
        check_nothing_lost(&site, load, 200);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* Good, faulty, half written, good: whenever the signal comes, what was good last goes on. Each request is answered. */
static void sighup_at_any_moment(void)
{
    static const char *const lines[] = {"log_level = info", "wriet_key = misspelt", "log_level = debug", "state_dir ="};
    struct site site;
    unsigned random = suite_seed(28);
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        struct load_options options = steady_load(&site);
        struct load *load = load_start(&options);
        for (size_t i = 0, rounds = durable_share(SIGNALS); i < rounds; i++) {
            if (rand_r(&random) % 2 == 0)
                durable_configure(&site, lines[i % (sizeof lines / sizeof *lines)]);
            durable_signal(site.program.pid, SIGHUP);
            poll(NULL, 0, rand_r(&random) % 100);
        }
        durable_configure(&site, NULL);
        CU_ASSERT(load_wait_ok(load, 200, durable_patience(60000)));
        CU_ASSERT(process_alive(&site.program));
        load_stop(load);
        struct load_result result = load_finish(load);
        for (size_t i = 0; i < result.sent; i++)
            check(load_status(load, i) == 200 || load_status(load, i) == 503, "request %zu is answered %d", i,
                  load_status(load, i));
        CU_ASSERT(durable_wait_empty(&site, durable_patience(ARRIVED_MS)));
        durable_check_delivered(&site, load, result);
        size_t started = site_count_logged(&site, "msg=started");
        durable_signal(site.program.pid, SIGHUP);
        check(wait_starts(&site, started + 1), "it still reloads");
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* strace sends the signal at the first thing that main asks. */
static void sighup_before_anything_else(void)
{
    static const char *const early[] = {"/usr/bin/strace",
                                        "-qq",
                                        "-e",
                                        "trace=getsockopt",
                                        "-e",
                                        "inject=getsockopt:signal=HUP:when=1",
                                        "-E",
                                        "ASAN_OPTIONS=detect_leaks=0",
                                        "-o",
                                        "/dev/null",
                                        "--",
                                        NULL};
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, "queue = none")) {
        CU_ASSERT(wait_starts(&site, 1));
        process_stop(&site.program, durable_patience(60000));
        site.wrapper = early;
        CU_ASSERT(site_spawn(&site));
        check(wait_starts(&site, 3), "it starts, and then as it was told");
        CU_ASSERT(process_alive(&site.program));
    }
    site_close(&site);
}

/* What only `check` finds, too, is in the log. */
static void says_what_is_faulty_in_the_new(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, "state_dir = state")) {
        CU_ASSERT(wait_starts(&site, 1));
        site_configure(&site, "state_dir = nowhere/state2");
        CU_ASSERT(site_wait_logged(&site, "msg=not_reloaded", 1, RELOADED_MS));
        CU_ASSERT_EQUAL(site_count_logged(
                            &site, "msg=new_configuration_is_faulty reason=\"it does not exist, and cannot be made in"),
                        1);
        struct output output = command_output(&site, "check", NULL);
        check(strstr(output.text, "WRONG: it does not exist, and cannot be made in ") != NULL, "check finds it: %s",
              output.text);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* Such as half of one. */
static void keeps_the_old_program_when_the_new_crashes(void)
{
    static const char crashes[] = "#!/bin/sh\nkill -SEGV $$\n";
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, "queue = none")) {
        CU_ASSERT(wait_starts(&site, 1));
        CU_ASSERT(temporary_write(site.directory, "closecrm.fcgi", 0755, crashes, sizeof crashes - 1));
        CU_ASSERT(site_wait_logged(&site, "msg=not_reloaded", 1, RELOADED_MS));
        CU_ASSERT_EQUAL(site_count_logged(&site, "msg=cannot_check_what_is_new reason=\"it was ended by signal 11\""),
                        1);
        CU_ASSERT_EQUAL(site_count_logged(&site, "msg=started"), 1);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void takes_a_replaced_program(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, "queue = none")) {
        struct load_options options = steady_load(&site);
        struct load *load = load_start(&options);
        CU_ASSERT(load_wait(load, 200, durable_patience(60000)));
        CU_ASSERT(temporary_copy(site.directory, "closecrm.fcgi", 0755, program_under_test()));
        CU_ASSERT(wait_starts(&site, 2));
        check_nothing_lost(&site, load, 200);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* The others are about queue = none, or about no queue. */
void suite_lifecycle_postgresql(void)
{
    static CU_TestInfo tests[] = {
        {"a changed configuration under load", reloads_a_changed_configuration},
        CU_TEST_INFO_NULL,
    };
    suite_add("lifecycle postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}

void suite_lifecycle(void)
{
    static CU_TestInfo tests[] = {
        {"SIGTERM when idle", stops_when_idle},
        {"SIGTERM under load", stops_under_load},
        {"SIGTERM while the data plane hangs", stops_while_the_data_plane_hangs},
        {"SIGHUP under load", reloads_at_sighup},
        {"SIGHUP under load, Apache's kept connections", reloads_and_keeps_kept_connections},
        {"Apache tries at once after a restart", apache_tries_at_once_after_a_restart},
        {"a changed configuration under load", reloads_a_changed_configuration},
        {"a faulty configuration under load", keeps_the_old_configuration_when_the_new_is_faulty},
        {"SIGHUP at any moment, whatever the configuration", sighup_at_any_moment},
        {"SIGHUP before anything else", sighup_before_anything_else},
        {"what is faulty in it is said", says_what_is_faulty_in_the_new},
        {"a program that crashes stays out", keeps_the_old_program_when_the_new_crashes},
        {"a replaced program under load", takes_a_replaced_program},
        CU_TEST_INFO_NULL,
    };
    suite_add("lifecycle", NULL, NULL, tests);
}
