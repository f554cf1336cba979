/* SIGKILL of all processes of the program at random moments, under load: what was answered 200 is delivered, unaltered,
 * and the data plane sees each event once if it knows messages by their messageId. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"

#define ROUNDS 40           /* behind Apache and spawn-fcgi */
#define ROUNDS_MOD_FCGID 15 /* of the processes that Apache started */
#define LONGEST_MS 250      /* from a start to the next kill */

/* The same moments again where CLOSECRM_TEST_SEED says so. */
static unsigned seed(void)
{
    unsigned chosen = suite_seed((unsigned)time(NULL));
    printf("(seed %u) ", chosen);
    return chosen;
}

static void let_live(unsigned *random)
{
    poll(NULL, 0, (int)(rand_r(random) % LONGEST_MS));
}

static void kill_and_start(struct site *site)
{
    int status;
    durable_signal(site->program.pid, SIGKILL); /* it may not have become the program yet */
    CU_ASSERT(process_wait(&site->program, 60000, &status));
    durable_kill_all(site);
    CU_ASSERT(site_spawn(site));
}

/* The dead must not have taken anything with them. */
static void check_all(struct site *site, struct load *load)
{
    struct load_result result = load_finish(load);
    if (site->program.pid <= 0) /* mod_fcgid starts no process before the next request: nobody is at home */
        durable_command(site, "cron", NULL);
    CU_ASSERT(durable_wait_empty(site, durable_patience(60000)));
    CU_ASSERT(result.ok > 0);
    durable_check_delivered(site, load, result);
    struct counts counts = durable_check_counted(site);
    CU_ASSERT_EQUAL(counts.dead, 0);
    load_free(load);
}

static void check_killed(const char *more, const char *processes)
{
    struct site site;
    unsigned random = seed();
    if (durable_open(&site, &setup_apache_proxy, more)) {
        struct load_options options = durable_load(&site);
        options.pause_ms = 1;
        site.wrapper = processes == NULL ? NULL : durable_many(processes);
        struct load *load = load_start(&options);
        /* where the program starts slowly, it may not come to answering any between two kills */
        CU_ASSERT(load_wait_ok(load, 100, durable_patience(60000)));
        for (size_t i = 0; i < durable_share(ROUNDS) / (processes == NULL ? 1 : 2); i++) {
            let_live(&random);
            kill_and_start(&site);
        }
        load_stop(load);
        check_all(&site, load);
    }
    site_close(&site);
}

static void killed(void)
{
    check_killed(NULL, NULL);
}

static void killed_while_several_share_the_queue(void)
{
    check_killed(NULL, "4");
}

/* Batches of one event: many more answers and settlings lie between the kills. */
static void killed_with_small_batches(void)
{
    check_killed("batch_events = 3\n", NULL);
}

static void killed_under_mod_fcgid(void)
{
    struct site site;
    unsigned random = seed();
    if (durable_open(&site, &setup_apache_fcgid, NULL)) {
        struct load_options options = durable_load(&site);
        options.pause_ms = 5;
        options.timeout_ms = durable_patience(3000); /* mod_fcgid is slow to start new ones */
        size_t killed_most = 0;
        struct load *load = load_start(&options);
        CU_ASSERT(load_wait(load, 100, durable_patience(60000)));
        for (size_t i = 0; i < durable_share(ROUNDS_MOD_FCGID); i++) {
            poll(NULL, 0, 200);
            let_live(&random);
            size_t count = durable_kill_all(&site);
            killed_most = count > killed_most ? count : killed_most;
        }
        printf("(up to %zu processes at once) ", killed_most);
        check(killed_most > 1, "several processes shared the queue");
        load_stop(load);
        check_all(&site, load);
    }
    site_close(&site);
}

static CU_TestInfo tests[] = {
    {"SIGKILL at random moments", killed},
    {"SIGKILL, four processes on one queue", killed_while_several_share_the_queue},
    {"SIGKILL, many small batches", killed_with_small_batches},
    {"SIGKILL of all that mod_fcgid started", killed_under_mod_fcgid},
    CU_TEST_INFO_NULL,
};

void suite_durable_kill_postgresql(void)
{
    suite_add("durable kill postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}

void suite_durable_kill(void)
{
    suite_add("durable kill", NULL, NULL, tests);
}
