/* An event with a message about the person: both go in one batch or neither, and the event counts once. */
#include "base/clock.h"
#include "tests/suites.h"
#include "tests/support/forward_rig.h"

#include <stdio.h>
#include <string.h>

#define EVENTS 12
#define PLAIN "K"
#define SHORTEST_MS 50                                 /* first pause after a failed request */
#define BAD_IDENTIFY "\"traits\":{\"name\":\"POISON\"" /* only in the identify */

/* The forwarder's counters are kept in this process's memory. */
struct person_rig {
    struct rig rig;
    struct telemetry telemetry;
};

static void start(struct person_rig *person, size_t batch_events)
{
    static const char *const names[] = {"one", "two"};
    struct rig *rig = &person->rig;
    struct error why;
    rig_prepare(rig);
    rig->made.source[0].identify = ANSWER_YES;
    rig->made.config.batch_events = (int64_t)batch_events;
    rig_open(rig);
    person->telemetry = (struct telemetry){.counters = counters_open(NULL, names, 2, &why)};
    CU_ASSERT_PTR_NOT_NULL_FATAL(person->telemetry.counters);
}

static void go(struct person_rig *person)
{
    struct rig *rig = &person->rig;
    struct error why;
    rig->forwarder = forwarder_new(&rig->made.config, rig->queue, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->forwarder);
    forwarder_back_off(rig->forwarder, RIG_BACKOFF_MS);
    forwarder_watch(rig->forwarder, &person->telemetry);
    rig_go(rig);
}

static void end(struct person_rig *person)
{
    rig_end(&person->rig);
    counters_close(person->telemetry.counters);
}

static void append_lead(struct rig *rig, unsigned number, const char *name)
{
    char body[512];
    struct error why;
    int length = snprintf(body, sizeof body,
                          "{\"event\":{\"object_type\":\"lead\",\"action\":\"updated\",\"id\":\"ev_%u\",\"lead_id\":"
                          "\"lead_%u\",\"data\":{\"name\":\"%s\"}},\"subscription_id\":\"s\"}",
                          number, number, name);
    CU_ASSERT_EQUAL(queue_append(rig->queue, "one", body, (size_t)length, clock_now() + RIG_PATIENCE_MS, &why),
                    QUEUE_STORED);
}

/* Counts the stored messages of a type; request: of this request only (0: of all). */
static size_t count_type(struct rig *rig, const char *type, size_t request)
{
    char piece[32];
    size_t count = 0;
    snprintf(piece, sizeof piece, "\"type\":\"%s\"", type);
    const struct standin_message *message;
    for (size_t i = 0; (message = standin_message(rig->standin, i)) != NULL; i++) {
        bool is = memmem(message->json.at, message->json.length, piece, strlen(piece)) != NULL;
        count += is && (request == 0 || message->request == request);
    }
    return count;
}

static uint64_t refused(const struct person_rig *person)
{
    static struct tally tally;
    counters_read(counters_of(person->telemetry.counters, "one"), clock_unix_ms(), &tally);
    return tally.identify_refused;
}

static void both_in_one_batch(void)
{
    struct person_rig person;
    struct rig *rig = &person.rig;
    start(&person, 5);
    for (unsigned i = 0; i < EVENTS; i++)
        append_lead(rig, i, PLAIN);
    go(&person);
    CU_ASSERT_TRUE(standin_wait_messages(rig->standin, 2 * EVENTS, RIG_PATIENCE_MS));
    CU_ASSERT_TRUE(rig_wait_counts(rig, 0, 0));
    struct counts counts = rig_counts(rig);
    CU_ASSERT_EQUAL(counts.accepted, EVENTS);
    CU_ASSERT_EQUAL(counts.delivered, EVENTS);
    size_t requests = standin_counts(rig->standin).requests;
    for (size_t i = 1; i <= requests; i++) {
        size_t tracks = count_type(rig, "track", i);
        CU_ASSERT_EQUAL(count_type(rig, "identify", i), tracks);
        CU_ASSERT_TRUE(tracks <= 2); /* batch_events counts messages */
    }
    CU_ASSERT_EQUAL(count_type(rig, "track", 0), EVENTS);
    CU_ASSERT_EQUAL(refused(&person), 0);
    end(&person);
}

/* What refuses it: 400, or failing again and again. */
static void refused_identify_costs_no_event(void)
{
    static const int statuses[] = {400, 413, 403};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        struct person_rig person;
        struct rig *rig = &person.rig;
        start(&person, 500);
        standin_fail(rig->standin, &(struct standin_fault){.act = STANDIN_ANSWER,
                                                           .times = STANDIN_ALWAYS,
                                                           .marker = BAD_IDENTIFY,
                                                           .status = statuses[i],
                                                           .body = "no"});
        for (unsigned number = 0; number < EVENTS; number++)
            append_lead(rig, number, number == 5 ? "POISON" : PLAIN);
        go(&person);
        CU_ASSERT_TRUE(standin_wait_messages(rig->standin, 2 * EVENTS - 1, RIG_PATIENCE_MS));
        CU_ASSERT_TRUE(rig_wait_counts(rig, 0, 0));
        CU_ASSERT_EQUAL(rig_counts(rig).delivered, EVENTS);
        CU_ASSERT_EQUAL(count_type(rig, "track", 0), EVENTS);
        CU_ASSERT_EQUAL(count_type(rig, "identify", 0), EVENTS - 1);
        CU_ASSERT_EQUAL(standin_counts(rig->standin).repeated, 0);
        CU_ASSERT_EQUAL(refused(&person), 1);
        end(&person);
    }
}

/* The track message is refused as well: a dead letter, as without an identify; its replay sends no identify. */
static void refused_track_is_dead_and_its_replay_sends_no_identify(void)
{
    struct person_rig person;
    struct rig *rig = &person.rig;
    struct letters letters = {0};
    struct error why;
    size_t done = 0;
    start(&person, 500);
    standin_fail(rig->standin,
                 &(struct standin_fault){
                     .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "POISON", .status = 400, .body = "no"});
    for (unsigned number = 0; number < EVENTS; number++)
        append_lead(rig, number, number == 5 ? "POISON" : PLAIN);
    go(&person);
    CU_ASSERT_TRUE(rig_wait_counts(rig, 1, 0));
    CU_ASSERT_EQUAL(standin_counts(rig->standin).messages, 2 * (EVENTS - 1));
    CU_ASSERT_EQUAL(refused(&person), 0);
    standin_heal(rig->standin);
    CU_ASSERT_EQUAL(queue_letters(rig->queue, NULL, 0, 10, 1 << 20, &letters, &why), 1);
    CU_ASSERT_TRUE(queue_replay(rig->queue, &letters.at[0].id, 1, &done, &why));
    letters_free(&letters);
    CU_ASSERT_TRUE(standin_wait_messages(rig->standin, 2 * EVENTS - 1, RIG_PATIENCE_MS));
    CU_ASSERT_TRUE(rig_wait_counts(rig, 0, 0));
    CU_ASSERT_EQUAL(count_type(rig, "track", 0), EVENTS);
    CU_ASSERT_EQUAL(count_type(rig, "identify", 0), EVENTS - 1);
    end(&person);
}

/* The data plane was away, and fails at everything, which is no identify's fault: once it is back, both arrive. */
static void outage_costs_no_identify(void)
{
    for (unsigned failures = 6; failures <= 7; failures++) {
        struct person_rig person;
        struct rig *rig = &person.rig;
        start(&person, 500);
        standin_fail(rig->standin, &(struct standin_fault){.act = STANDIN_ANSWER, .times = failures, .status = 503});
        go(&person);
        forwarder_back_off(rig->forwarder, SHORTEST_MS);
        append_lead(rig, 0, PLAIN);
        CU_ASSERT_TRUE(standin_wait_messages(rig->standin, 1, RIG_PATIENCE_MS));
        CU_ASSERT_TRUE(rig_wait_counts(rig, 0, 0));
        CU_ASSERT_EQUAL(count_type(rig, "track", 0), 1);
        CU_ASSERT_EQUAL(count_type(rig, "identify", 0), 1);
        CU_ASSERT_EQUAL(refused(&person), 0);
        end(&person);
    }
}

/* It fails at this identify, and accepts others: the track message is delivered. */
static void failing_identify_costs_no_event(void)
{
    struct person_rig person;
    struct rig *rig = &person.rig;
    unsigned number = 1;
    start(&person, 500);
    rig->made.config.poison_after_ms = 1;
    standin_fail(
        rig->standin,
        &(struct standin_fault){.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = BAD_IDENTIFY, .status = 500});
    go(&person);
    forwarder_back_off(rig->forwarder, SHORTEST_MS);
    append_lead(rig, 0, "POISON");
    for (moment deadline = clock_now() + RIG_PATIENCE_MS; refused(&person) == 0 && clock_now() < deadline;) {
        append_lead(rig, number++, PLAIN);
        standin_wait_messages(rig->standin, SIZE_MAX, 20);
    }
    CU_ASSERT_TRUE(rig_wait_counts(rig, 0, 0));
    CU_ASSERT_EQUAL(count_type(rig, "track", 0), number);
    CU_ASSERT_EQUAL(count_type(rig, "identify", 0), number - 1);
    CU_ASSERT_EQUAL(refused(&person), 1);
    end(&person);
}

void suite_forwarder_person(void)
{
    static CU_TestInfo tests[] = {
        {"both in one batch, and the event counts once", both_in_one_batch},
        {"a refused identify costs no event", refused_identify_costs_no_event},
        {"an outage costs no identify", outage_costs_no_identify},
        {"a failing identify costs no event", failing_identify_costs_no_event},
        {"a refused track message is dead; its replay sends no identify",
         refused_track_is_dead_and_its_replay_sends_no_identify},
        CU_TEST_INFO_NULL,
    };
    suite_add("forwarder: person", rig_in_memory, NULL, tests);
}
