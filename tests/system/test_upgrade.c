/* Another release in the same state directory, under load: the one before is replaced by this one, this one is killed
 * and started again, and gives the directory back to the one before. What waited, what was delivered and the dead
 * letters are the same all the way. `make test-upgrade BEFORE=COMMIT` builds the release before and names it in
 * CLOSECRM_BEFORE; without that this suite does not exist. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"

#define PHASE_MS 1500

static const char *before(void)
{
    return getenv("CLOSECRM_BEFORE");
}

/* Puts a program in the place of the running one, as an installation does, and waits until it has been taken on. */
static bool take_on(struct site *site, const char *program)
{
    size_t started = site_count_logged(site, "msg=started");
    return check(temporary_copy(site->directory, "closecrm.fcgi", 0755, program), "%s can be copied", program) &&
           check(site_wait_logged(site, "msg=started", started + 1, durable_patience(30000)), "%s is taken on",
                 program);
}

static void kill_and_start(struct site *site)
{
    int status;
    durable_signal(site->program.pid, SIGKILL);
    CU_ASSERT(process_wait(&site->program, 10000, &status));
    durable_kill_all(site);
    CU_ASSERT(site_spawn(site));
}

static void there_and_back(struct site *site)
{
    const struct standin_fault one_event = {
        .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = LOAD_MARK, .status = 400, .body = "no"};
    const struct standin_fault away = {.act = STANDIN_ANSWER, .times = 3, .status = 503};
    struct load_options options = durable_load(site);
    options.pause_ms = 5;
    options.marked = 40;
    standin_fail(site->standin, &one_event);
    struct load *load = load_start(&options);
    CU_ASSERT(load_wait(load, 400, durable_patience(60000)));
    standin_fail(site->standin, &away); /* some wait, with tries noted */
    if (take_on(site, program_under_test())) {
        poll(NULL, 0, PHASE_MS);
        CU_ASSERT_EQUAL(durable_counts(site, "alpha").dead, 1);
        kill_and_start(site);
        standin_fail(site->standin, &away);
        poll(NULL, 0, PHASE_MS);
        take_on(site, before());
        poll(NULL, 0, PHASE_MS);
    }
    load_stop(load);
    struct load_result result = load_finish(load);
    CU_ASSERT(durable_wait_empty(site, durable_patience(60000)));
    CU_ASSERT_EQUAL(durable_counts(site, "alpha").dead, 1);
    standin_heal(site->standin);
    struct standin_counts received = standin_counts(site->standin);
    struct counts counts = durable_counts(site, NULL);
    check(load_count_arrived(load, site->standin, 0) == result.ok - (load_status(load, 40) == 200),
          "all that were answered 200 arrived, but for the dead letter");
    CU_ASSERT_EQUAL(load_count_altered(load, site->standin, ALPHA_WRITE_KEY), 0);
    CU_ASSERT_EQUAL(counts.delivered, received.messages - received.repeated);
    printf("(%zu of %zu answered 200, %zu messages, %zu of them sent twice) ", result.ok, result.sent,
           received.messages, received.repeated);
    load_free(load);
}

static void another_release(void)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL) && take_on(&site, before())) {
        kill_and_start(&site);
        there_and_back(&site);
    }
    site_close(&site);
}

void suite_upgrade(void)
{
    static CU_TestInfo tests[] = {
        {"the release before, this one, and back", another_release},
        CU_TEST_INFO_NULL,
    };
    if (before() != NULL)
        suite_add("upgrade", NULL, NULL, tests);
}
