/* The forwarder with the durable queue before it: what becomes of events that cannot be delivered at once, and what is
 * still known after a restart. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "forward/forward.h"
#include "queue/inspect.h"
#include "tests/suites.h"
#include "tests/system/event.h"
#include "tests/system/standin.h"
#include "tests/system/temporary.h"
#include "tests/unit/made_config.h"

#define PATIENCE_MS 60000

struct rig {
    char directory[PATH_SIZE];
    char state[PATH_SIZE];
    char url[64];
    struct standin *standin;
    struct made_config made;
    struct queue *queue;
    struct forwarder *forwarder;
    pthread_t thread;
};

static void *forward(void *context)
{
    forwarder_run(context, FORWARD_UNTIL_STOPPED, MOMENT_NEVER);
    return NULL;
}

static void rig_prepare(struct rig *rig)
{
    static const struct standin_options options = {.write_keys = {"wk_one", "wk_two"}};
    CU_ASSERT_TRUE_FATAL(temporary_make(rig->directory));
    path_join(rig->state, rig->directory, "state");
    rig->standin = standin_start(&options);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->standin);
    snprintf(rig->url, sizeof rig->url, "http://127.0.0.1:%d", standin_port(rig->standin));
    made_config_init(&rig->made, rig->url, rig->url);
    rig->made.config.queue = QUEUE_SQLITE;
    rig->made.config.queue_max_bytes = (int64_t)1 << 40;
    rig->made.config.state_dir = rig->state;
}

static void rig_open(struct rig *rig)
{
    struct why why = {""};
    rig->queue = queue_open(&rig->made.config, &why);
    if (rig->queue == NULL)
        fprintf(stderr, "%s\n", why.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->queue);
}

static void rig_run(struct rig *rig)
{
    struct why why;
    rig->forwarder = forwarder_new(&rig->made.config, rig->queue, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->forwarder);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&rig->thread, NULL, forward, rig->forwarder), 0);
}

static void rig_halt(struct rig *rig)
{
    forwarder_stop(rig->forwarder, clock_now() + PATIENCE_MS);
    pthread_join(rig->thread, NULL);
    forwarder_free(rig->forwarder);
    queue_close(rig->queue);
}

static void rig_restart(struct rig *rig)
{
    rig_halt(rig);
    rig_open(rig);
    rig_run(rig);
}

static void rig_end(struct rig *rig)
{
    rig_halt(rig);
    standin_stop(rig->standin);
    temporary_remove(rig->directory);
}

static void append_options(struct rig *rig, const struct event_options *options)
{
    struct event_text text = {0};
    struct why why = {""};
    event_make(&text, options);
    CU_ASSERT_EQUAL(queue_append(rig->queue, "one", text.body.data, text.body.length, clock_now() + PATIENCE_MS, &why),
                    QUEUE_STORED);
    event_free(&text);
}

static void append_numbered(struct rig *rig, unsigned number, unsigned leads, const char *note)
{
    char id[32], lead[32];
    snprintf(id, sizeof id, "ev_%u", number);
    snprintf(lead, sizeof lead, "lead_%u", number % leads);
    append_options(rig, &(struct event_options){.id = id, .lead = lead, .note = note});
}

/* Counts by a connection of its own, for the queue's is the forwarder's. */
static struct counts counts_of(struct rig *rig)
{
    struct counts counts = {0};
    struct why why;
    struct queue *queue = queue_open(&rig->made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT_TRUE(queue_count(queue, "one", &counts, &why));
    queue_close(queue);
    return counts;
}

/* Waits until so many events are dead, and none but `waiting` wait. */
static bool wait_for_counts(struct rig *rig, uint64_t dead, uint64_t waiting)
{
    for (moment deadline = clock_now() + PATIENCE_MS; clock_now() < deadline;) {
        struct counts counts = counts_of(rig);
        if (counts.dead == dead && counts.waiting == waiting)
            return true;
        standin_wait_messages(rig->standin, SIZE_MAX, 20);
    }
    return false;
}

static void a_backlog_is_delivered_each_once(void)
{
    enum { COUNT = 3000 };
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    for (unsigned i = 0; i < COUNT; i++)
        append_numbered(&rig, i, 50, NULL);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, COUNT, PATIENCE_MS));
    CU_ASSERT_TRUE(wait_for_counts(&rig, 0, 0));
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, COUNT);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).repeated, 0);
    CU_ASSERT_EQUAL(counts_of(&rig).delivered, COUNT);
    rig_end(&rig);
}

static void duplicates_are_known_after_a_restart(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    rig_run(&rig);
    append_numbered(&rig, 1, 1, NULL);
    CU_ASSERT_TRUE(wait_for_counts(&rig, 0, 0));
    append_numbered(&rig, 1, 1, NULL);
    CU_ASSERT_TRUE(wait_for_counts(&rig, 0, 0));
    rig_restart(&rig);
    append_numbered(&rig, 1, 1, NULL);
    CU_ASSERT_TRUE(wait_for_counts(&rig, 0, 0));
    struct counts counts = counts_of(&rig);
    CU_ASSERT_EQUAL(counts.accepted, 3);
    CU_ASSERT_EQUAL(counts.delivered, 1);
    CU_ASSERT_EQUAL(counts.duplicates, 2);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 1);
    rig_end(&rig);
}

static void one_refused_among_many_is_a_dead_letter_in_the_data_planes_words(void)
{
    enum { COUNT = 1000 };
    struct rig rig;
    struct letters letters = {0};
    struct why why;
    rig_prepare(&rig);
    rig_open(&rig);
    standin_fail(
        rig.standin,
        &(struct standin_fault){
            .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "POISON", .status = 400, .body = "invalid json"});
    for (unsigned i = 0; i < COUNT; i++)
        append_numbered(&rig, i, 20, i == 321 ? "POISON" : NULL);
    rig_run(&rig);
    CU_ASSERT_TRUE(wait_for_counts(&rig, 1, 0));
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, COUNT - 1);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).repeated, 0);
    rig_halt(&rig);
    rig_open(&rig);
    CU_ASSERT_EQUAL_FATAL(queue_letters(rig.queue, NULL, 0, 10, 65536, &letters, &why), 1);
    CU_ASSERT_STRING_EQUAL(letters.at[0].reason, "the data plane answered 400 \"invalid json\"");

    /* Mended at the data plane, and replayed. */
    size_t done;
    standin_heal(rig.standin);
    CU_ASSERT_TRUE(queue_replay(rig.queue, &letters.at[0].id, 1, &done, &why));
    rig_run(&rig);
    CU_ASSERT_TRUE(wait_for_counts(&rig, 0, 0));
    CU_ASSERT_PTR_NOT_NULL(standin_find(rig.standin, "ev_321"));
    letters_free(&letters);
    rig_end(&rig);
}

static void a_data_plane_that_refuses_everything_fills_no_dead_letters(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    standin_fail(rig.standin,
                 &(struct standin_fault){.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 400, .body = "no"});
    for (unsigned i = 0; i < 40; i++)
        append_numbered(&rig, i, 20, NULL);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin, 8, PATIENCE_MS));
    struct notes notes = {.tries = 0};
    for (moment deadline = clock_now() + PATIENCE_MS; !notes.operator_must_act && clock_now() < deadline;) {
        struct why why;
        struct queue *queue = queue_open(&rig.made.config, &why);
        CU_ASSERT_TRUE(queue_notes(queue, "one", &notes, &why));
        queue_close(queue);
    }
    CU_ASSERT_TRUE(notes.operator_must_act);
    CU_ASSERT_EQUAL(counts_of(&rig).dead, 0);
    CU_ASSERT_EQUAL(counts_of(&rig).waiting, 40);
    rig_end(&rig);
}

/* One message makes the data plane fail with 500, always: it is found, parked, and at last dead; what is about the same
 * lead waits behind it, in order, and all others pass. */
static void one_that_the_data_plane_fails_at_is_parked_and_then_dead(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig.made.config.poison_after_ms = 3000;
    rig.made.config.batch_events = 16;
    rig_open(&rig);
    standin_fail(
        rig.standin,
        &(struct standin_fault){
            .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "POISON", .status = 500, .body = "panic"});
    for (unsigned i = 0; i < 200; i++)
        append_numbered(&rig, i, 20, i == 23 ? "POISON" : NULL);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 191, PATIENCE_MS)); /* 8 more wait behind it */
    for (unsigned i = 1000; counts_of(&rig).dead == 0 && i < 1600; i++) {
        append_numbered(&rig, i, 1, NULL); /* others succeed meanwhile */
        standin_wait_messages(rig.standin, SIZE_MAX, 100);
    }
    CU_ASSERT_TRUE(wait_for_counts(&rig, 1, 0));
    size_t last = 0;
    for (unsigned i = 43; i < 200; i += 20) {
        char id[32];
        snprintf(id, sizeof id, "ev_%u", i);
        const struct standin_message *message = standin_find(rig.standin, id);
        CU_ASSERT_PTR_NOT_NULL_FATAL(message);
        CU_ASSERT_TRUE(message->request >= last);
        last = message->request;
    }
    CU_ASSERT_EQUAL(standin_counts(rig.standin).repeated, 0);
    rig_end(&rig);
}

static void back_off_does_not_start_over(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    standin_fail(rig.standin,
                 &(struct standin_fault){.act = STANDIN_ANSWER, .times = 1, .status = 503, .retry_after = "4"});
    rig_run(&rig);
    moment start = clock_now();
    append_numbered(&rig, 1, 1, NULL);
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin, 1, PATIENCE_MS));
    for (int i = 0; i < 3; i++)
        rig_restart(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 1, PATIENCE_MS));
    CU_ASSERT_TRUE(standin_message(rig.standin, 0)->arrived - start >= 3900);
    rig_end(&rig);
}

static void a_mended_configuration_is_tried_at_once(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig.made.write_keys[0] = (char[]){"wk_wrong"};
    rig_open(&rig);
    rig_run(&rig);
    append_numbered(&rig, 1, 1, NULL);
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin, 1, PATIENCE_MS));
    rig_restart(&rig);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 0);
    rig.made.write_keys[0] = rig.made.write_key[0];
    rig_restart(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 1, PATIENCE_MS));
    CU_ASSERT_EQUAL(standin_counts(rig.standin).requests, 2);
    rig_end(&rig);
}

static void too_old_is_dead_only_when_the_clock_can_be_believed(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig.made.config.queue_retention_ms = 1;
    rig_open(&rig);
    append_numbered(&rig, 1, 1, NULL);
    standin_wait_messages(rig.standin, 1, 10);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 1, PATIENCE_MS)); /* a new queue's clock is not believed yet */
    CU_ASSERT_TRUE(wait_for_counts(&rig, 0, 0));
    rig_halt(&rig);

    char clock[64];
    int length = snprintf(clock, sizeof clock, "%lld %lld\n", (long long)clock_unix_ms(),
                          (long long)clock_unix_ms() - 2 * 86400000LL);
    CU_ASSERT_TRUE(temporary_write(rig.state, "clock", 0600, clock, (size_t)length));
    rig_open(&rig);
    append_numbered(&rig, 2, 1, NULL);
    standin_wait_messages(rig.standin, 2, 10);
    rig_run(&rig);
    CU_ASSERT_TRUE(wait_for_counts(&rig, 1, 0));
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 1);
    rig_end(&rig);
}

static void a_rate_is_kept(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig.made.config.deliver_rate = 40;
    rig_open(&rig);
    for (unsigned i = 0; i < 100; i++)
        append_numbered(&rig, i, 20, NULL);
    moment start = clock_now();
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 100, PATIENCE_MS));
    CU_ASSERT_TRUE(clock_now() - start >= 2000);
    rig_end(&rig);
}

void suite_forwarder_durable(void)
{
    static CU_TestInfo tests[] = {
        {"a backlog is delivered, each event once", a_backlog_is_delivered_each_once},
        {"duplicates are known after a restart", duplicates_are_known_after_a_restart},
        {"one refused among many is a dead letter, and can be replayed",
         one_refused_among_many_is_a_dead_letter_in_the_data_planes_words},
        {"a data plane that refuses everything fills no dead letters",
         a_data_plane_that_refuses_everything_fills_no_dead_letters},
        {"one that the data plane fails at is parked, then dead",
         one_that_the_data_plane_fails_at_is_parked_and_then_dead},
        {"back-off does not start over after a restart", back_off_does_not_start_over},
        {"a mended configuration is tried at once", a_mended_configuration_is_tried_at_once},
        {"too old is dead only when the clock can be believed", too_old_is_dead_only_when_the_clock_can_be_believed},
        {"deliver_rate is kept", a_rate_is_kept},
        CU_TEST_INFO_NULL,
    };
    suite_add("forwarder durable", NULL, NULL, tests);
}
