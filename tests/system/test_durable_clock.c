/* Time: the five minutes between two tries while somebody has to mend something, with a clock that runs faster; and a
 * calendar that jumps: no stall, no loss, nothing called too old. */
#include "tests/suites.h"

#include <poll.h>
#include <stdio.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/faked_clock.h"

#define EVENTS 200

static bool open_with(struct site *site, const char *more, const char *const *(*wrapper)(const struct site *))
{
    if (!durable_open(site, &setup_lighttpd_spawn, more))
        return false;
    faked_clock_set(site, "+0");
    return durable_start_anew(site, wrapper(site));
}

/* ---- the data plane is mended, and the program finds out by itself ---- */

static const char *const *runs(const struct site *site)
{
    (void)site;
    return faked_clock_that_runs("x60");
}

static const struct {
    const char *name;
    struct standin_fault fault;
    const char *logged;
} refusals[] = {
    {"401", {.status = 401, .body = "invalid write key"}, "msg=data_plane_refuses"},
    {"a web page", {.status = 200, .body = "<html>welcome</html>"}, "msg=data_plane_refuses"},
    {"404", {.status = 404, .body = "404 page not found"}, "msg=data_plane_refuses"},
    {"a redirect", {.status = 302, .body = ""}, "msg=data_plane_refuses"},
    {"400 for everything",
     {.status = 400, .body = "go away"},
     "msg=event_refused"}, /* one lead: the others of it wait */
};

#define REFUSALS (sizeof refusals / sizeof *refusals)

/* One data plane that refuses, and what is sent to it. They wait for their five minutes beside each other. */
struct refused_site {
    struct site site;
    bool open;
    struct load *load;
    struct load_result result;
};

static void begin_refusal(struct refused_site *refusal, size_t i)
{
    struct site *site = &refusal->site;
    refusal->open = open_with(site, "lanes = 2", runs);
    if (!refusal->open)
        return;
    struct load_options options = durable_load(site);
    struct standin_fault fault = refusals[i].fault;
    fault.act = STANDIN_ANSWER;
    fault.times = STANDIN_ALWAYS;
    standin_fail(site->standin, &fault);
    options.connections = 1; /* one lead */
    options.ordered = true;
    refusal->load = load_start(&options); /* half a second of ours is half a minute there: not all are answered 200 */
    CU_ASSERT(load_wait_ok(refusal->load, EVENTS / 2, durable_patience(60000)));
    load_stop(refusal->load);
    refusal->result = load_finish(refusal->load);
    CU_ASSERT(site_wait_logged(site, refusals[i].logged, 1, durable_patience(60000)));
    CU_ASSERT(durable_counts(site, "alpha").waiting >= refusal->result.ok);
    standin_heal(site->standin);
}

static void end_refusal(struct refused_site *refusal, size_t i)
{
    struct site *site = &refusal->site;
    printf("\n    %s ", refusals[i].name);
    if (refusal->open) {
        check(durable_wait_empty(site, durable_patience(60000)), "%s: it recovers by itself", refusals[i].name);
        durable_check_delivered(site, refusal->load, refusal->result);
        size_t disordered = load_count_disordered(refusal->load, site->standin);
        check(disordered == 0, "%s: each lead's order is kept (%zu are not)", refusals[i].name, disordered);
        check(durable_counts(site, "alpha").dead == 0, "%s: nothing is dead", refusals[i].name);
        load_free(refusal->load);
    }
    CU_ASSERT_EQUAL(site_close(site), 0);
}

static void mended_at_the_data_plane(void)
{
    static struct refused_site all[REFUSALS];
    if (!faked_clock_works())
        return;
    for (size_t i = 0; i < REFUSALS; i++)
        begin_refusal(&all[i], i);
    for (size_t i = 0; i < REFUSALS; i++)
        end_refusal(&all[i], i);
}

/* ---- the calendar jumps ---- */

static const char *const *jumps(const struct site *site)
{
    return faked_clock_that_jumps(site);
}

/* Events before and after each jump, some of them waiting while it happens. */
static void the_calendar_jumps(void)
{
    static const char *const offsets[] = {"+0", "-3600", "+40d", "+0"};
    struct load *loads[sizeof offsets / sizeof *offsets] = {NULL};
    struct load_result results[sizeof offsets / sizeof *offsets];
    static const char *const prefixes[] = {"before", "back", "forward", "right"};
    struct site site;
    if (!faked_clock_works())
        return;
    if (open_with(&site, "signature_tolerance = 366d", jumps)) {
        struct load_options options = durable_load(&site);
        options.count = EVENTS;
        for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
            standin_fail(site.standin,
                         &(struct standin_fault){.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 503});
            options.prefix = prefixes[i];
            loads[i] = load_start(&options);
            results[i] = load_finish(loads[i]);
            check(results[i].ok == EVENTS, "%s: %zu of %d answered 200, else %d", prefixes[i], results[i].ok, EVENTS,
                  results[i].other);
            if (i + 1 < sizeof offsets / sizeof *offsets)
                faked_clock_set(&site, offsets[i + 1]);
            poll(NULL, 0, 300);
            standin_heal(site.standin);
            check(durable_wait_empty(&site, durable_patience(60000)), "%s: no stall", prefixes[i]);
        }
        for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
            check(load_count_arrived(loads[i], site.standin, 1) == results[i].ok, "%s: all arrive once", prefixes[i]);
            load_free(loads[i]);
        }
        struct counts counts = durable_counts(&site, "alpha");
        CU_ASSERT_EQUAL(counts.dead, 0);
        CU_ASSERT_EQUAL(counts.delivered, EVENTS * sizeof offsets / sizeof *offsets);
        CU_ASSERT_EQUAL(counts.duplicates, 0);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* It jumps while the program does not run, and events wait that would be too old by the new calendar. */
static void the_calendar_jumps_between_two_processes(void)
{
    struct site site;
    if (!faked_clock_works())
        return;
    if (open_with(&site, "signature_tolerance = 366d", jumps)) {
        struct load_options options = durable_load(&site);
        options.count = EVENTS;
        standin_fail(site.standin,
                     &(struct standin_fault){.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 503});
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        CU_ASSERT_EQUAL(process_stop(&site.program, durable_patience(60000)), 0);
        faked_clock_set(&site, "+40d");
        CU_ASSERT(site_spawn(&site));
        poll(NULL, 0, 1500); /* it tries some, and must not call them too old */
        CU_ASSERT_EQUAL(durable_counts(&site, "alpha").dead, 0);
        standin_heal(site.standin);
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        durable_check_delivered(&site, load, result);
        CU_ASSERT_EQUAL(durable_counts(&site, "alpha").dead, 0);
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* What really is too old, by a calendar that ran steadily, does become a dead letter. */
static void what_is_too_old_is_dead(void)
{
    struct site site;
    if (!faked_clock_works())
        return;
    if (open_with(&site, "signature_tolerance = 366d\nqueue_retention = 2d", jumps)) {
        struct load_options options = durable_load(&site);
        options.count = 20;
        standin_fail(site.standin,
                     &(struct standin_fault){.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 503});
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        /* a day is noted as steady when it is seen in steps of less than a day */
        static const char *const steps[] = {"+20h", "+40h", "+60h"};
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
            CU_ASSERT_EQUAL(process_stop(&site.program, durable_patience(60000)), 0);
            size_t before = site_count_logged(&site, "msg=forwards");
            faked_clock_set(&site, steps[i]);
            CU_ASSERT(site_spawn(&site));
            CU_ASSERT(site_wait_logged(&site, "msg=forwards", before + 1, durable_patience(60000)));
            poll(NULL, 0, 300);
        }
        moment deadline = clock_now() + durable_patience(60000);
        while (durable_counts(&site, "alpha").dead < result.ok && clock_now() < deadline)
            poll(NULL, 0, 200);
        CU_ASSERT_EQUAL(durable_counts(&site, "alpha").dead, result.ok);
        CU_ASSERT_EQUAL(durable_counts(&site, "alpha").waiting, 0);
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

void suite_durable_clock(void)
{
    static CU_TestInfo tests[] = {
        {"a data plane that is mended is found out", mended_at_the_data_plane},
        {"the calendar jumps an hour back, forty days forward", the_calendar_jumps},
        {"it jumps between two processes", the_calendar_jumps_between_two_processes},
        {"what is too old becomes a dead letter", what_is_too_old_is_dead},
        CU_TEST_INFO_NULL,
    };
    suite_add("durable clock", NULL, NULL, tests);
}
