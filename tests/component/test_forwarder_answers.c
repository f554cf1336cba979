/* What the forwarder makes of the data plane's answers, and of those that do not come. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "forward/post.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/forward_rig.h"

#define PATIENCE_MS RIG_PATIENCE_MS
#define A_WHILE_MS 2000 /* until then its first batch is under way */
#define SOON_MS 10000   /* who has nothing to do ends long before */

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

/* While the data plane is away, accepting has the machine: what comes in is not read before it can be sent, for it
 * would be read and parsed again then. */
static void little_is_read_while_the_data_plane_is_away(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig.made.config.batch_events = 50;
    rig_open(&rig);
    standin_fail(rig.standin, &(struct standin_fault){.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 503});
    rig_append_many(&rig, 2000, 40, UINT_MAX);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin, 8, PATIENCE_MS));
    forwarder_stop(rig.forwarder, clock_now() + PATIENCE_MS);
    pthread_join(rig.thread, NULL);
    uint64_t read = forwarder_read_up_to(rig.forwarder, 0);
    check(read > 0 && read < 1000, "%llu read", (unsigned long long)read);
    forwarder_free(rig.forwarder);
    queue_close(rig.queue);

    rig_open(&rig);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin, 12, PATIENCE_MS));
    standin_heal(rig.standin);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 2000);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).repeated, 0);
    rig_end(&rig);
}

/* What Close sent twice, and waited both times, is one event: refused, it is one dead letter. */
static void what_came_twice_is_one_dead_letter(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    standin_fail(
        rig.standin,
        &(struct standin_fault){
            .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "POISON", .status = 400, .body = "invalid json"});
    for (unsigned i = 0; i < 8; i++)
        rig_append(&rig, i, 4, i == 3 ? "POISON" : NULL);
    rig_append(&rig, 3, 4, "POISON");
    rig_append(&rig, 3, 4, "POISON");
    rig_run(&rig);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 1, 0));
    struct counts counts = rig_counts(&rig);
    CU_ASSERT_EQUAL(counts.delivered, 7);
    CU_ASSERT_EQUAL(counts.duplicates, 2);
    standin_heal(rig.standin);
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

/* ---- exchanges that take long ---- */

/* Starts the forwarder with these limits in milliseconds. */
static void run_with(struct rig *rig, int64_t silence_ms, int64_t whole_ms)
{
    struct error why;
    struct post_limits limits = post_limits_usual;
    limits.silence_ms = silence_ms;
    limits.whole_ms = whole_ms;
    rig->forwarder = forwarder_new(&rig->made.config, rig->queue, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->forwarder);
    forwarder_back_off(rig->forwarder, RIG_BACKOFF_MS);
    forwarder_limit(rig->forwarder, &limits, 1000);
    rig_go(rig);
}

/* The most messages that were stored by one request. */
static size_t largest_request(struct rig *rig)
{
    size_t largest = 0, count = 0, request = 0;
    const struct standin_message *message;
    for (size_t i = 0; (message = standin_message(rig->standin, i)) != NULL; i++) {
        count = message->request == request ? count + 1 : 1;
        request = message->request;
        largest = count > largest ? count : largest;
    }
    return largest;
}

/* A data plane that needs its time for each event: a batch of all would take longer than the limit on silence. It gets
 * smaller ones, and few copies. */
static void a_slow_data_plane_gets_smaller_batches(void)
{
    enum { COUNT = 50 };
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    standin_fail(rig.standin, &(struct standin_fault){.act = STANDIN_SLOW, .times = STANDIN_ALWAYS, .each_ms = 40});
    for (unsigned i = 0; i < COUNT; i++)
        rig_append(&rig, i, 1, NULL); /* in one lane, 2 s */
    run_with(&rig, 1400, 60000);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    struct standin_counts counts = standin_counts(rig.standin);
    CU_ASSERT_EQUAL(counts.messages - counts.repeated, COUNT);
    CU_ASSERT_TRUE(counts.repeated <= 2 * COUNT);
    rig_end(&rig);
}

/* A line, or a data plane, that takes the request slowly, but takes it: however long that is, it is taken whole. */
static void a_slow_line_is_not_given_up(void)
{
    enum { COUNT = 16, NOTE = 150000, SILENCE = 5000 };
    struct rig rig;
    char *note = malloc(NOTE + 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(note);
    rig_prepare(&rig);
    rig_open(&rig);
    uint32_t chance = 1;
    for (unsigned i = 0; i < COUNT; i++) {
        for (size_t j = 0; j < NOTE; j++) { /* what cannot be compressed much */
            chance = chance * 1664525 + 1013904223;
            note[j] = (char)('0' + (chance >> 24) % 64);
            if (note[j] == '\\')
                note[j] = '~';
        }
        note[NOTE] = '\0';
        rig_append(&rig, i, 1, note);
    }
    free(note);
    standin_read_slowly(rig.standin, 560); /* some 10 pieces */
    moment begin = clock_now();
    run_with(&rig, SILENCE, 60000); /* it takes longer; silent is the line for two pieces at most */
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    CU_ASSERT_EQUAL(largest_request(&rig), COUNT);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, COUNT);
    CU_ASSERT_TRUE(clock_now() - begin > SILENCE);
    printf("(%zu requests, %lld ms) ", standin_counts(rig.standin).requests, (long long)(clock_now() - begin));
    rig_end(&rig);
}

static void an_exchange_ends(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    standin_fail(rig.standin, &(struct standin_fault){.act = STANDIN_HOLD, .times = 1});
    for (unsigned i = 0; i < 10; i++)
        rig_append(&rig, i, 1, NULL);
    run_with(&rig, 60000, 1500);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 10, PATIENCE_MS));
    CU_ASSERT_EQUAL(largest_request(&rig), 5);
    rig_end(&rig);
}

/* Its status counts; the rest is not waited for. */
static void an_answer_without_end_is_cut(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    standin_fail(rig.standin, &(struct standin_fault){.act = STANDIN_ENDLESS, .times = 1, .status = 503});
    standin_fail(rig.standin, &(struct standin_fault){.act = STANDIN_ENDLESS, .times = 1, .status = 200});
    rig_append(&rig, 1, 1, NULL);
    run_with(&rig, 60000, 60000);
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin, 2, PATIENCE_MS));
    struct notes notes = {.tries = 0};
    for (moment deadline = clock_now() + PATIENCE_MS; !notes.operator_must_act && clock_now() < deadline;)
        rig_notes(&rig, &notes);
    CU_ASSERT_TRUE(notes.operator_must_act);
    CU_ASSERT_PTR_NOT_NULL(strstr(notes.reason, "the data plane answered 200 "));
    rig_end(&rig);
}

/* After a 408 and after a cut connection half of the batch is sent, and it grows again. */
static void too_much_at_once_is_halved(void)
{
    static const struct standin_fault faults[] = {
        {.act = STANDIN_ANSWER, .times = 2, .status = 408},
        {.act = STANDIN_CUT, .times = 2},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct rig rig;
        rig_prepare(&rig);
        rig_open(&rig);
        standin_fail(rig.standin, &faults[i]);
        for (unsigned j = 0; j < 64; j++)
            rig_append(&rig, j, 1, NULL);
        rig_run(&rig);
        CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
        CU_ASSERT_EQUAL(largest_request(&rig), 16);
        standin_fail(rig.standin, &(struct standin_fault){.act = STANDIN_HOLD, .times = 1});
        rig_append(&rig, 99, 1, NULL);
        CU_ASSERT_TRUE(standin_wait_held(rig.standin, 1, PATIENCE_MS));
        for (unsigned j = 0; j < 400; j++)
            rig_append(&rig, 100 + j, 1, NULL);
        standin_heal(rig.standin);
        CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
        CU_ASSERT_TRUE(largest_request(&rig) > 16);
        CU_ASSERT_EQUAL(standin_counts(rig.standin).repeated, 0);
        rig_end(&rig);
    }
}

/* ---- who forwards for a while ---- */

static void *forward_a_while(void *context)
{
    forwarder_run(context, FORWARD_UNTIL_IDLE, clock_now() + A_WHILE_MS);
    return NULL;
}

static void append_to_two(struct rig *rig, const char *id)
{
    struct event_text text = {0};
    struct error why = {0};
    event_make(&text, &(struct event_options){.id = id});
    CU_ASSERT_EQUAL(queue_append(rig->queue, "two", text.body.data, text.body.length, clock_now() + PATIENCE_MS, &why),
                    QUEUE_STORED);
    event_free(&text);
}

/* A batch that is slow, but steady, is awaited after the time is over, for a quarter of an hour if need be. The other
 * source goes on; the slow one sends no more, so that this comes to an end. */
static void a_slow_source_holds_up_no_other(void)
{
    struct rig rig;
    struct error why;
    rig_prepare(&rig);
    rig_open(&rig);
    standin_fail(rig.standin,
                 &(struct standin_fault){.act = STANDIN_HOLD, .times = STANDIN_ALWAYS, .write_key = "wk_one"});
    rig_append(&rig, 1, 1, NULL);
    rig.forwarder = forwarder_new(&rig.made.config, rig.queue, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig.forwarder);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&rig.thread, NULL, forward_a_while, rig.forwarder), 0);
    CU_ASSERT_TRUE(standin_wait_held(rig.standin, 1, PATIENCE_MS));
    standin_wait_messages(rig.standin, 1, A_WHILE_MS); /* the time is over */
    append_to_two(&rig, "ev_two");
    rig_append(&rig, 2, 1, NULL);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 1, PATIENCE_MS));
    CU_ASSERT_PTR_NOT_NULL(standin_find(rig.standin, "ev_two"));
    standin_heal(rig.standin);
    pthread_join(rig.thread, NULL);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 2);
    CU_ASSERT_PTR_NOT_NULL(standin_find(rig.standin, "ev_1"));
    CU_ASSERT_EQUAL(rig_counts(&rig).waiting, 1);
    forwarder_free(rig.forwarder);
    queue_close(rig.queue);
    standin_stop(rig.standin);
    temporary_remove(rig.directory);
}

/* An event is parked that the data plane fails at, and others are delivered; then the process ends. */
static void park_one(struct rig *rig)
{
    struct notes notes = {.parked_count = 0};
    standin_fail(rig->standin, &(struct standin_fault){
                                   .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "POISON", .status = 500});
    rig_append(rig, 0, 1000, "POISON");
    rig_run(rig);
    for (moment deadline = clock_now() + PATIENCE_MS; notes.parked_count == 0 && clock_now() < deadline;
         rig_notes(rig, &notes))
        standin_wait_messages(rig->standin, SIZE_MAX, 20);
    CU_ASSERT_EQUAL(notes.parked_count, 1);
    rig_append(rig, 1, 1000, NULL);
    CU_ASSERT_TRUE(standin_wait_messages(rig->standin, 1, PATIENCE_MS));
    rig_halt(rig);
}

/* Whatever keeps its lane from sending: a parked event whose own pause is over is not due before that ends. Were it,
 * the forwarder would look again and again at once, and whoever forwards what is due would not come to an end. */
static void a_parked_event_is_not_due_while_its_lane_is_put_off(void)
{
    static const struct standin_fault faults[] = {
        {.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 503, .retry_after = "3600"},
        {.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 401},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct rig rig;
        struct error why;
        rig_prepare(&rig);
        rig.made.config.lanes = 1;
        rig_open(&rig);
        park_one(&rig);
        standin_heal(rig.standin);
        standin_fail(rig.standin, &faults[i]);
        rig_open(&rig);
        rig_append(&rig, 2, 1000, NULL);
        size_t requests = standin_counts(rig.standin).requests;
        rig.forwarder = forwarder_new(&rig.made.config, rig.queue, &why);
        CU_ASSERT_PTR_NOT_NULL_FATAL(rig.forwarder);
        moment deadline = clock_now() + SOON_MS;
        CU_ASSERT_TRUE(forwarder_run(rig.forwarder, FORWARD_UNTIL_IDLE, deadline));
        CU_ASSERT_TRUE(clock_now() < deadline);
        CU_ASSERT_TRUE(standin_counts(rig.standin).requests > requests);
        CU_ASSERT_EQUAL(rig_counts(&rig).waiting, 2);
        forwarder_free(rig.forwarder);
        queue_close(rig.queue);
        standin_stop(rig.standin);
        temporary_remove(rig.directory);
    }
}

/* How long a back-off of 2 s lasts when each further start is with this configuration: its file's name, and what it
 * says. The first one is `conf` with "a = 1". */
static int64_t back_off_with(const char *name, const char *text)
{
    struct rig rig;
    char path[PATH_SIZE];
    rig_prepare(&rig);
    path_join(path, rig.directory, "conf");
    rig.made.config.path = path;
    CU_ASSERT_TRUE(temporary_write(rig.directory, "conf", 0600, "a = 1", 5));
    rig_open(&rig);
    standin_fail(rig.standin,
                 &(struct standin_fault){.act = STANDIN_ANSWER, .times = 1, .status = 503, .retry_after = "2"});
    rig_run(&rig);
    moment start = clock_now();
    rig_append(&rig, 1, 1, NULL);
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin, 1, PATIENCE_MS));
    for (int i = 0; i < 3; i++) {
        rig_halt(&rig);
        path_join(path, rig.directory, name);
        if (text != NULL && i == 0)
            CU_ASSERT_TRUE(temporary_write(rig.directory, name, 0600, text, strlen(text)));
        rig_open(&rig);
        rig_run(&rig);
    }
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 1, PATIENCE_MS));
    int64_t lasted = standin_message(rig.standin, 0)->arrived - start;
    rig_end(&rig);
    return lasted;
}

static void back_off_does_not_start_over(void)
{
    CU_ASSERT_TRUE(back_off_with("conf", NULL) >= 1900);
    CU_ASSERT_TRUE(back_off_with("conf", "a = 1") < 1900); /* it was saved again */
    CU_ASSERT_TRUE(back_off_with("conf", "a = 2") < 1900);
    CU_ASSERT_TRUE(back_off_with("other", "a = 1") >= 1900); /* another machine's */
    CU_ASSERT_TRUE(back_off_with("other", "a = 2") < 1900);
}

void suite_forwarder_answers(void)
{
    static CU_TestInfo tests[] = {
        {"a lane that is answered 200 wakes the others", an_answer_wakes_the_other_lanes},
        {"little is read while the data plane is away", little_is_read_while_the_data_plane_is_away},
        {"what came twice is one dead letter", what_came_twice_is_one_dead_letter},
        {"200 with an empty body counts where it may", an_empty_answer_counts_where_it_may},
        {"a slow data plane gets smaller batches, and few copies", a_slow_data_plane_gets_smaller_batches},
        {"a slow line is not given up, however long it takes", a_slow_line_is_not_given_up},
        {"an exchange ends, and half is tried", an_exchange_ends},
        {"an answer without end is cut, its status counts", an_answer_without_end_is_cut},
        {"too much at once is halved, and grows again", too_much_at_once_is_halved},
        {"a slow source holds up no other, though the time is over", a_slow_source_holds_up_no_other},
        {"a parked event is not due while its lane is put off", a_parked_event_is_not_due_while_its_lane_is_put_off},
        {"back-off does not start over after a restart", back_off_does_not_start_over},
        CU_TEST_INFO_NULL,
    };
    suite_add("forwarder answers", rig_in_memory, NULL, tests);
}
