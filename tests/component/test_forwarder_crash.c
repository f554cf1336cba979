/* An event that crashes the program is found by the second death, whatever it was read with, and is a dead letter then;
 * all others are delivered. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/suites.h"
#include "tests/support/crashing_body.h"
#include "tests/support/forward_rig.h"

#define DEATHS_MOST 6

/* Forwards until all has ended. */
static _Noreturn void forward_to_the_end(struct rig *rig)
{
    rig_open(rig);
    rig_run(rig);
    bool ended = rig_wait_counts(rig, 1, 0);
    rig_halt(rig);
    _exit(ended ? 0 : 1);
}

/* How many processes died of it, before one that did not. */
static int count_deaths(struct rig *rig)
{
    int deaths = 0, status = -1;
    for (; deaths < DEATHS_MOST; deaths++) {
        fflush(stdout);
        pid_t child = fork();
        CU_ASSERT_TRUE_FATAL(child >= 0);
        if (child == 0)
            forward_to_the_end(rig);
        CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
        if (!WIFSIGNALED(status))
            break;
        CU_ASSERT_EQUAL(WTERMSIG(status), SIGSEGV);
    }
    CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return deaths;
}

static void two_die_of_one_among_many(void)
{
    static const char body[] = CRASHING_BODY("ev_crash", "lead_crash");
    struct rig rig;
    struct error why;
    rig_prepare(&rig);
    rig_open(&rig);
    for (unsigned i = 0; i < 20; i++) {
        rig_append(&rig, i, 10, NULL);
        if (i == 12)
            CU_ASSERT_EQUAL(queue_append(rig.queue, "one", body, sizeof body - 1, clock_now() + RIG_PATIENCE_MS, &why),
                            QUEUE_STORED);
    }
    queue_close(rig.queue);
    CU_ASSERT_EQUAL(count_deaths(&rig), 2);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 20, RIG_PATIENCE_MS));
    standin_stop(rig.standin);
    temporary_remove(rig.directory);
}

void suite_forwarder_crash(void)
{
    static CU_TestInfo tests[] = {
        {"two processes die of one event among many, the third makes a dead letter of it", two_die_of_one_among_many},
        CU_TEST_INFO_NULL,
    };
    suite_add("forwarder crash", NULL, NULL, tests);
}
