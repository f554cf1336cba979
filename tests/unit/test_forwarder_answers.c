/* What the forwarder makes of the data plane's answers, and of those that do not come. */
#include <stdio.h>
#include <string.h>

#include "tests/suites.h"
#include "tests/unit/forward_rig.h"

#define PATIENCE_MS RIG_PATIENCE_MS
#define LANES 4

/* Every lane has been answered 503 and asked for a long pause. What is told to one of them is true for all: the first
 * that is answered 200 again wakes the others. */
static void an_answer_wakes_the_other_lanes(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    standin_fail(
        rig.standin,
        &(struct standin_fault){
            .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "AWAY", .status = 503, .retry_after = "600"});
    for (unsigned i = 0; i < 10; i++) /* leads of at least two lanes, but not of all */
        rig_append(&rig, i, 3, "AWAY");
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin, 2, PATIENCE_MS));
    standin_wait_messages(rig.standin, 1, 200);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 0);
    standin_heal(rig.standin);
    for (unsigned i = 0; i < 40; i++) /* leads of every lane */
        rig_append(&rig, 100 + i, 40, NULL);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 50, PATIENCE_MS));
    CU_ASSERT_EQUAL(standin_counts(rig.standin).repeated, 0);
    rig_end(&rig);
}

/* 200 with an empty body is a delivery only where the operator says so. */
static void an_empty_answer_counts_where_it_may(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig.made.source[0].accept_empty = ANSWER_YES;
    rig_open(&rig);
    standin_fail(rig.standin, &(struct standin_fault){.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 200});
    rig_append(&rig, 1, 1, NULL);
    rig_run(&rig);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    CU_ASSERT_EQUAL(rig_counts(&rig).delivered, 1);
    rig_halt(&rig);
    rig.made.source[0].accept_empty = ANSWER_NO;
    rig_open(&rig);
    rig_append(&rig, 2, 1, NULL);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin, 2, PATIENCE_MS));
    CU_ASSERT_EQUAL(rig_counts(&rig).waiting, 1);
    rig_end(&rig);
}

void suite_forwarder_answers(void)
{
    static CU_TestInfo tests[] = {
        {"a lane that is answered 200 wakes the others", an_answer_wakes_the_other_lanes},
        {"200 with an empty body counts where it may", an_empty_answer_counts_where_it_may},
        CU_TEST_INFO_NULL,
    };
    suite_add("forwarder answers", NULL, NULL, tests);
}
