/* Many processes on one queue: each event delivered once, one process forwards, and another takes over when it dies.
 * And none at all: CGI requests whose events cron delivers at the latest. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"

#define EVENTS 20000
#define PROCESSES 10
#define TAKEN_OVER_MS 2000
#define BY_CGI 500

static const struct setup setup_cgi = {
    .name = "Apache, mod_cgi", .server = "apache2", .sample = "cgi.conf", .mount = "/closecrm", .prefork = true};

/* How many of the site's processes there were at most, looked at until the load is done. */
static size_t watch_processes(const struct site *site, struct load *load, size_t events)
{
    pid_t pids[DURABLE_PROCESSES];
    size_t most = 0;
    moment deadline = clock_now() + durable_patience(120000);
    for (bool done = false; !done && clock_now() < deadline;) {
        size_t count = durable_processes(site, pids);
        most = count > most ? count : most;
        done = load_wait(load, events, 200);
    }
    return most;
}

static void check_many(const struct setup *setup, const char *const *wrapper, size_t events)
{
    struct site site;
    if (durable_open(&site, setup, NULL)) {
        if (wrapper != NULL) {
            CU_ASSERT(durable_start_anew(&site, wrapper));
        }
        struct load_options options = durable_load(&site);
        options.count = durable_share(events);
        options.connections = 32;
        options.times = wrapper == NULL ? 20 : 1; /* mod_fcgid itself answers 503 while its processes start slowly */
        moment begin = clock_now();
        struct load *load = load_start(&options);
        size_t most = watch_processes(&site, load, options.count);
        struct load_result result = load_finish(load);
        printf("(%zu processes, %lld ms) ", most, (long long)(clock_now() - begin));
        check(most >= (wrapper == NULL ? 2 : PROCESSES), "many processes share the queue: %zu", most);
        CU_ASSERT_EQUAL(result.ok, options.count);
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        durable_check_delivered(&site, load, result);
        CU_ASSERT_EQUAL(standin_counts(site.standin).repeated, 0);
        struct counts counts = durable_counts(&site, "alpha");
        CU_ASSERT_EQUAL(counts.delivered, options.count);
        CU_ASSERT_EQUAL(counts.duplicates, 0);
        load_free(load);
    }
    site_close(&site);
}

static void ten_processes(void)
{
    check_many(&setup_lighttpd_spawn, durable_many("10"), EVENTS);
}

static void mod_fcgid(void)
{
    check_many(&setup_apache_fcgid, NULL, EVENTS / 4);
}

/* Waits until a message arrives that was sent after that moment. Returns after how long it did. */
static int64_t wait_next(const struct site *site, pid_t killed, moment from)
{
    moment deadline = from + durable_patience(60000);
    while (durable_forwarder(site) == killed && clock_now() < deadline) /* it may not have ended yet */
        poll(NULL, 0, 5);
    size_t messages = standin_counts(site->standin).messages;
    CU_ASSERT(standin_wait_messages(site->standin, messages + 1, clock_until(deadline)));
    return clock_now() - from;
}

static void another_takes_over(void)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        CU_ASSERT(durable_start_anew(&site, durable_many("4")));
        struct load_options options = durable_load(&site);
        options.connections = 4;
        options.pause_ms = 5;
        struct load *load = load_start(&options);
        int64_t shortest = INT64_MAX;
        for (size_t i = 1; i <= 3; i++) {
            CU_ASSERT(standin_wait_messages(site.standin, i * 100, durable_patience(60000)));
            pid_t forwarder = durable_forwarder(&site);
            moment killed = clock_now();
            durable_signal(forwarder, SIGKILL);
            int64_t gap = wait_next(&site, forwarder, killed);
            shortest = gap < shortest ? gap : shortest;
            printf("(next message after %lld ms) ", (long long)gap);
        }
        load_stop(load);
        struct load_result result = load_finish(load);
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        /* A machine that has much else to do may take longer at times. */
        check(shortest <= durable_patience(TAKEN_OVER_MS), "taken over within 2 s: %lld ms", (long long)shortest);
        durable_check_delivered(&site, load, result);
        load_free(load);
    }
    site_close(&site);
}

/* From the answer to the arrival, one event at a time, whichever process took it. */
static void check_delay(const char *processes)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        CU_ASSERT(durable_start_anew(&site, processes == NULL ? NULL : durable_many(processes)));
        struct load_options options = durable_load(&site);
        options.count = durable_share(200);
        options.connections = 1;
        options.pause_ms = 10;
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        CU_ASSERT_EQUAL(result.ok, options.count);
        CU_ASSERT(standin_wait_messages(site.standin, options.count, durable_patience(60000)));
        int64_t median = load_median_delay(load, site.standin);
        printf("(median %lld ms after the answer, %s) ", (long long)median,
               processes == NULL ? "one process" : "ten processes");
        check(median < durable_patience(1000), "new events leave at once: %lld ms", (long long)median);
        load_free(load);
    }
    site_close(&site);
}

static void new_events_leave_at_once(void)
{
    check_delay(NULL);
    check_delay("10");
}

/* The web server starts a process for each request; each ends, and the last look is cron's. */
static void plain_cgi_and_cron(void)
{
    struct site site;
    if (durable_open(&site, &setup_cgi, NULL)) {
        pid_t pids[DURABLE_PROCESSES];
        struct load_options options = durable_load(&site);
        options.count = durable_share(BY_CGI);
        options.connections = 8;
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        CU_ASSERT_EQUAL(result.ok, options.count);
        size_t by_children = standin_counts(site.standin).messages;
        CU_ASSERT_EQUAL(durable_command(&site, "cron", NULL), 0);
        printf("(%zu of %zu before cron) ", by_children, options.count);
        /* what a child has in hand just now cron leaves to it */
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        durable_check_delivered(&site, load, result);
        CU_ASSERT_EQUAL(standin_counts(site.standin).repeated, 0);
        /* the children end by themselves */
        moment deadline = clock_now() + durable_patience(60000);
        while (durable_processes(&site, pids) > 0 && clock_now() < deadline)
            poll(NULL, 0, 50);
        CU_ASSERT_EQUAL(durable_processes(&site, pids), 0);
        load_free(load);
    }
    site_close(&site);
}

/* The same, with the children killed as some hosts do it: cron alone delivers. */
static void plain_cgi_whose_children_are_killed(void)
{
    struct site site;
    if (durable_open(&site, &setup_cgi, NULL)) {
        struct load_options options = durable_load(&site);
        standin_fail(site.standin, &(struct standin_fault){.act = STANDIN_HOLD, .times = STANDIN_ALWAYS});
        options.count = durable_share(BY_CGI / 5);
        options.connections = 8;
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        CU_ASSERT_EQUAL(result.ok, options.count);
        durable_kill_all(&site);
        standin_heal(site.standin);
        bool empty = false; /* who was killed may have its locks a little longer */
        for (moment deadline = clock_now() + durable_patience(5000); !empty && clock_now() < deadline;) {
            CU_ASSERT_EQUAL(durable_command(&site, "cron", NULL), 0);
            empty = durable_wait_empty(&site, 0);
        }
        CU_ASSERT(empty);
        durable_check_delivered(&site, load, result);
        load_free(load);
    }
    site_close(&site);
}

static CU_TestInfo tests[] = {
    {"20,000 events, ten processes, each once", ten_processes},
    {"5,000 events, mod_fcgid, each once", mod_fcgid},
    {"the forwarder dies: another takes over within 2 s", another_takes_over},
    {"new events leave at once", new_events_leave_at_once},
    {"500 events by plain CGI, and cron", plain_cgi_and_cron},
    {"plain CGI whose children are killed, and cron", plain_cgi_whose_children_are_killed},
    CU_TEST_INFO_NULL,
};

void suite_durable_processes_postgresql(void)
{
    suite_add("durable processes postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}

void suite_durable_processes(void)
{
    suite_add("durable processes", NULL, NULL, tests);
}
