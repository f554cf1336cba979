/* An event at which the data plane fails alone, and which is parked: when it is tried again, who may have it tried at
 * once, and what is told of it. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/forward_rig.h"

#define PATIENCE_MS RIG_PATIENCE_MS /* far less than the pause that a parked event has to sit out here */
#define LONG_MS (2 * PATIENCE_MS)
#define FAST_MS 60
#define MARKED "POISON"

/* The data plane asks for a pause beyond all measure: of whoever sends this text; NULL: of everybody. */
static void fail_for_long(struct rig *rig, const char *marker, int status)
{
    standin_fail(rig->standin, &(struct standin_fault){.act = STANDIN_ANSWER,
                                                       .times = STANDIN_ALWAYS,
                                                       .marker = marker,
                                                       .status = status,
                                                       .retry_after = "86400",
                                                       .body = "later"});
}

static void try_now(struct rig *rig)
{
    CU_ASSERT_TRUE(forward_mended(&rig->made.config, NULL));
    queue_wake(rig->queue);
}

/* Appends events of other leads, from number 1 on, until one is parked and must wait for long.
 * Returns how many were appended. */
static unsigned append_until_parked(struct rig *rig, struct notes *notes)
{
    unsigned count = 0;
    memset(notes, 0, sizeof *notes);
    for (moment deadline = clock_now() + PATIENCE_MS;
         (notes->parked_count == 0 || notes->tries > 0 || notes->next_ms < clock_unix_ms() + LONG_MS) &&
         clock_now() < deadline;
         rig_notes(rig, notes)) {
        rig_append(rig, ++count, UINT_MAX, NULL);
        standin_wait_messages(rig->standin, SIZE_MAX, FAST_MS);
    }
    return count;
}

/* The data plane fails at one event, and asks for a long pause; when it was mended "Try now" has it tried, and what
 * follows of its lead, in order. The pause is told, and no longer than any other. */
static void try_now_tries_what_is_parked(void)
{
    enum { BEHIND = 3 };
    struct rig rig;
    struct notes notes;
    rig_prepare(&rig);
    rig_open(&rig);
    fail_for_long(&rig, MARKED, 503);
    rig_append_options(&rig, &(struct event_options){.id = "ev_held", .lead = "lead_held", .note = MARKED});
    for (int i = 0; i < BEHIND; i++)
        rig_append_options(
            &rig, &(struct event_options){.id = (const char *[]){"ev_a", "ev_b", "ev_c"}[i], .lead = "lead_held"});
    rig_run(&rig);
    forwarder_back_off(rig.forwarder, FAST_MS);
    unsigned others = append_until_parked(&rig, &notes);
    CU_ASSERT_EQUAL(notes.parked_count, 1);
    check(notes.next_ms > clock_unix_ms() && notes.next_ms <= clock_unix_ms() + 5 * 60 * 1000,
          "the next attempt is told, in %lld ms", (long long)(notes.next_ms - clock_unix_ms()));
    CU_ASSERT_PTR_NOT_NULL(strstr(notes.reason, "later"));
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 1 + BEHIND));
    standin_heal(rig.standin);
    try_now(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, others + 1 + BEHIND, PATIENCE_MS));
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    static const char *const order[] = {"ev_held", "ev_a", "ev_b", "ev_c"};
    for (size_t i = 1; i < sizeof order / sizeof *order; i++) {
        const struct standin_message *a = standin_find(rig.standin, order[i - 1]);
        const struct standin_message *b = standin_find(rig.standin, order[i]);
        CU_ASSERT_TRUE(a != NULL && b != NULL && a->request <= b->request);
    }
    rig_end(&rig);
}

/* While it still fails, each "Try now" is one more try, and no more than that. */
static void each_try_now_is_one_try(void)
{
    struct rig rig;
    struct notes notes;
    rig_prepare(&rig);
    rig_open(&rig);
    fail_for_long(&rig, MARKED, 503);
    rig_append(&rig, 0, UINT_MAX, MARKED);
    rig_run(&rig);
    forwarder_back_off(rig.forwarder, FAST_MS);
    append_until_parked(&rig, &notes);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 1));
    for (int i = 0; i < 3; i++) {
        size_t refused = standin_counts(rig.standin).refused;
        try_now(&rig);
        for (moment deadline = clock_now() + PATIENCE_MS;
             standin_counts(rig.standin).refused == refused && clock_now() < deadline;)
            standin_wait_messages(rig.standin, SIZE_MAX, 20);
        standin_wait_messages(rig.standin, SIZE_MAX, 300);
        check(standin_counts(rig.standin).refused == refused + 1, "%zu tries, not 1",
              standin_counts(rig.standin).refused - refused);
    }
    CU_ASSERT_EQUAL(rig_counts(&rig).dead, 0);
    rig_end(&rig);
}

/* The data plane fails at everything, asks all for a long pause, and one event is parked that was first in its lane: as
 * soon as something is accepted it is tried, and need not sit that out. */
static void a_general_failure_holds_no_event_for_long(void)
{
    enum { OTHERS = 12 };
    struct rig rig;
    struct notes notes = {.parked_count = 0};
    rig_prepare(&rig);
    rig_open(&rig);
    fail_for_long(&rig, NULL, 503);
    rig_append(&rig, 0, UINT_MAX, NULL);
    rig_run(&rig);
    forwarder_back_off(rig.forwarder, FAST_MS);
    for (moment deadline = clock_now() + PATIENCE_MS; notes.parked_count == 0 && clock_now() < deadline;
         rig_notes(&rig, &notes)) {
        try_now(&rig);
        standin_wait_messages(rig.standin, SIZE_MAX, FAST_MS);
    }
    CU_ASSERT_EQUAL(notes.parked_count, 1);
    standin_heal(rig.standin);
    for (unsigned i = 1; i <= OTHERS; i++) /* those of other lanes are sent at once */
        rig_append(&rig, i, UINT_MAX, NULL);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, OTHERS + 1, PATIENCE_MS));
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    rig_end(&rig);
}

/* That the data plane has no time for it now (429) is no failure of the event: only such count for poison_after. */
static void no_time_for_it_makes_no_dead_letter(void)
{
    enum { TRIES = 8 };
    struct rig rig;
    struct notes notes;
    rig_prepare(&rig);
    rig.made.config.poison_after_ms = 1;
    rig_open(&rig);
    fail_for_long(&rig, MARKED, 503);
    rig_append(&rig, 0, UINT_MAX, MARKED);
    rig_run(&rig);
    forwarder_back_off(rig.forwarder, FAST_MS);
    unsigned count = append_until_parked(&rig, &notes);
    CU_ASSERT_EQUAL(notes.parked_count, 1);
    standin_heal(rig.standin);
    fail_for_long(&rig, MARKED, 429);
    size_t refused = standin_counts(rig.standin).refused;
    for (moment deadline = clock_now() + PATIENCE_MS;
         standin_counts(rig.standin).refused < refused + TRIES && clock_now() < deadline;) {
        rig_append(&rig, ++count, UINT_MAX, NULL);
        standin_wait_messages(rig.standin, SIZE_MAX, 20);
        try_now(&rig);
        standin_wait_messages(rig.standin, SIZE_MAX, 20);
    }
    CU_ASSERT_TRUE(standin_counts(rig.standin).refused >= refused + TRIES);
    CU_ASSERT_EQUAL(rig_counts(&rig).dead, 0);
    standin_heal(rig.standin);
    try_now(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, count + 1, PATIENCE_MS));
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    rig_end(&rig);
}

static CU_TestInfo tests[] = {
    {"\"Try now\" tries what is parked", try_now_tries_what_is_parked},
    {"each \"Try now\" is one try", each_try_now_is_one_try},
    {"a general failure holds no event for long", a_general_failure_holds_no_event_for_long},
    {"no time for it makes no dead letter", no_time_for_it_makes_no_dead_letter},
    CU_TEST_INFO_NULL,
};

void suite_forwarder_parked_postgresql(void)
{
    suite_add("forwarder parked postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}

void suite_forwarder_parked(void)
{
    suite_add("forwarder parked", rig_in_memory, NULL, tests);
}
