/* The forwarder with the durable queue before it: what becomes of events that cannot be delivered at once, and what is
 * still known after a restart. */
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/suites.h"
#include "tests/support/durable.h"
#include "tests/support/forward_rig.h"
#include "tests/support/shifted_clock.h"
#include "tests/support/temporary.h"

#define PATIENCE_MS RIG_PATIENCE_MS
#define FAST_MS 60 /* the longest first pause after a failed request, where many follow */

static void a_backlog_is_delivered_each_once(void)
{
    enum { COUNT = 3000 };
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    rig_append_many(&rig, COUNT, 50, COUNT);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, COUNT, PATIENCE_MS));
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, COUNT);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).repeated, 0);
    CU_ASSERT_EQUAL(rig_counts(&rig).delivered, COUNT);
    rig_end(&rig);
}

static void duplicates_are_known_after_a_restart(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    rig_run(&rig);
    rig_append(&rig, 1, 1, NULL);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    rig_append(&rig, 1, 1, NULL);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    rig_restart(&rig);
    rig_append(&rig, 1, 1, NULL);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    struct counts counts = rig_counts(&rig);
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
    struct error why;
    rig_prepare(&rig);
    rig_open(&rig);
    standin_fail(
        rig.standin,
        &(struct standin_fault){
            .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "POISON", .status = 400, .body = "invalid json"});
    rig_append_many(&rig, COUNT, 20, 321);
    rig_run(&rig);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 1, 0));
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
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
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
        rig_append(&rig, i, 20, NULL);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin, 8, PATIENCE_MS));
    struct notes notes = {.tries = 0};
    for (moment deadline = clock_now() + PATIENCE_MS; !notes.operator_must_act && clock_now() < deadline;) {
        struct error why;
        struct queue *queue = queue_open(&rig.made.config, &why);
        CU_ASSERT_TRUE(queue_notes(queue, "one", &notes, &why));
        queue_close(queue);
    }
    CU_ASSERT_TRUE(notes.operator_must_act);
    CU_ASSERT_EQUAL(rig_counts(&rig).dead, 0);
    CU_ASSERT_EQUAL(rig_counts(&rig).waiting, 40);
    rig_end(&rig);
}

/* Appends an event of another lead each pause_ms, from number first on, since only beside such as are accepted a
 * failing one becomes a dead letter; until so many are dead. Then nothing waits.
 */
static void append_others_until_dead(struct rig *rig, unsigned first, uint64_t dead, int64_t pause_ms)
{
    for (moment deadline = clock_now() + 3 * PATIENCE_MS; rig_counts(rig).dead < dead && clock_now() < deadline;
         first++) {
        rig_append(rig, first, UINT_MAX, NULL);
        standin_wait_messages(rig->standin, SIZE_MAX, pause_ms);
    }
    CU_ASSERT_TRUE(rig_wait_counts(rig, dead, 0));
}

/* One message makes the data plane fail with 500, always: it is found, parked, and at last dead; what is about the same
 * lead waits behind it, in order, and all others pass. */
static void one_that_the_data_plane_fails_at_is_parked_and_then_dead(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig.made.config.poison_after_ms = 1500;
    rig.made.config.batch_events = 16;
    rig_open(&rig);
    standin_fail(
        rig.standin,
        &(struct standin_fault){
            .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "POISON", .status = 500, .body = "panic"});
    for (unsigned i = 0; i < 200; i++)
        rig_append(&rig, i, 20, i == 23 ? "POISON" : NULL);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 191, PATIENCE_MS)); /* 8 more wait behind it */
    append_others_until_dead(&rig, 1000, 1, 100);
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

/* More events of as many leads than there are lanes, each of which the data plane fails at, so that all lanes have such
 * ones first: what comes after them is delivered, and they are dead at last. */
static void many_that_the_data_plane_fails_at_hold_up_no_others(void)
{
    enum { GOOD = 30 };
    static const struct {
        enum standin_act act;
        unsigned bad;
    } rows[] = {{STANDIN_ANSWER, 6}, {STANDIN_CUT, 12}, {STANDIN_ANSWER, 40}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig rig;
        rig_prepare(&rig);
        rig.made.config.poison_after_ms = 200;
        rig_open(&rig);
        rig_run(&rig);
        forwarder_back_off(rig.forwarder, FAST_MS);
        rig_append(&rig, 0, 1000, NULL);
        CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 1, PATIENCE_MS));
        standin_fail(
            rig.standin,
            &(struct standin_fault){
                .act = rows[i].act, .times = STANDIN_ALWAYS, .marker = "POISON", .status = 500, .body = "err"});
        for (unsigned j = 1; j <= rows[i].bad; j++)
            rig_append(&rig, j, 1000, "POISON");
        for (unsigned j = 1; j < GOOD; j++) {
            rig_append(&rig, 100 + j, 1000, NULL);
            standin_wait_messages(rig.standin, SIZE_MAX, 10);
        }
        CU_ASSERT_TRUE(standin_wait_messages(rig.standin, GOOD, PATIENCE_MS));
        append_others_until_dead(&rig, 200, rows[i].bad, 20);
        CU_ASSERT_EQUAL(standin_counts(rig.standin).repeated, 0);
        rig_end(&rig);
    }
}

/* The data plane is away, whatever is sent; or takes empty batches, but no event: it is tried less and less often, and
 * nothing is dead. Then all is delivered. */
static void what_fails_at_everything_is_tried_less_and_less(void)
{
    enum { EVENTS = 150 };
    static const char *const markers[] = {NULL, "messageId"};
    for (size_t i = 0; i < sizeof markers / sizeof *markers; i++) {
        struct rig rig;
        struct notes notes;
        rig_prepare(&rig);
        rig.made.config.poison_after_ms = 1;
        rig_open(&rig);
        rig_run(&rig);
        forwarder_back_off(rig.forwarder, FAST_MS);
        rig_append(&rig, 0, 1000, NULL);
        CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 1, PATIENCE_MS));
        standin_fail(rig.standin,
                     &(struct standin_fault){
                         .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = markers[i], .status = 503});
        rig_append_many(&rig, EVENTS, 1000,
                        EVENTS); /* the first is there already; together: they shall not take long */
        standin_wait_messages(rig.standin, SIZE_MAX, 300);
        CU_ASSERT_TRUE(standin_counts(rig.standin).requests < EVENTS);
        rig_notes(&rig, &notes);
        CU_ASSERT_TRUE(markers[i] != NULL || notes.parked_count <= 1);
        CU_ASSERT_EQUAL(rig_counts(&rig).dead, 0);
        standin_heal(rig.standin);
        CU_ASSERT_TRUE(forward_mended(&rig.made.config, NULL)); /* what waits need not sit out its back-off */
        rig_append(&rig, EVENTS, 1000, NULL);
        CU_ASSERT_TRUE(standin_wait_messages(rig.standin, EVENTS + 1, PATIENCE_MS));
        CU_ASSERT_EQUAL(standin_counts(rig.standin).repeated, 0);
        rig_end(&rig);
    }
}

/* One lane was asked for a long pause, and others are accepted: what waits says why, and may be tried now. */
static void asked_pause_of_one_lane_is_told_and_ended(void)
{
    enum { MOST = 64 };
    struct rig rig;
    struct notes notes = {.reason = ""};
    unsigned count = 1;
    rig_prepare(&rig);
    rig_open(&rig);
    standin_fail(rig.standin,
                 &(struct standin_fault){
                     .act = STANDIN_ANSWER, .times = 1, .status = 429, .retry_after = "3600", .body = "slower"});
    rig_run(&rig);
    rig_append(&rig, 0, 1000, NULL);
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin, 1, PATIENCE_MS));
    for (; count < MOST && standin_counts(rig.standin).messages < 2; count++) {
        rig_append(&rig, count, 1000, NULL);
        standin_wait_messages(rig.standin, SIZE_MAX, 20);
    }
    CU_ASSERT_TRUE(standin_counts(rig.standin).messages < count);
    for (moment deadline = clock_now() + PATIENCE_MS;
         strstr(notes.reason, "slower") == NULL && clock_now() < deadline;) /* the answer may still be on its way */
        rig_notes(&rig, &notes);
    CU_ASSERT_PTR_NOT_NULL(strstr(notes.reason, "slower"));
    CU_ASSERT_TRUE(notes.next_ms > clock_unix_ms());
    CU_ASSERT_TRUE(forward_mended(&rig.made.config, NULL));
    queue_wake(rig.queue);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, count, PATIENCE_MS));
    rig_end(&rig);
}

/* Processes that end before the same batch has failed often enough, as under CGI: they count together, so that the one
 * event is found which the data plane fails at, and the others are delivered. */
static void one_that_fails_is_found_across_restarts(void)
{
    enum { EACH = 3, GOOD = 8 };
    struct rig rig;
    rig_prepare(&rig);
    rig.made.config.lanes = 1;
    rig_open(&rig);
    standin_fail(rig.standin, &(struct standin_fault){
                                  .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "POISON", .status = 500});
    for (unsigned i = 0; i < GOOD; i++)
        rig_append(&rig, i, 1000, NULL);
    rig_append(&rig, GOOD, 1000, "POISON");
    rig_run(&rig);
    for (size_t i = 1; i <= 4 && standin_counts(rig.standin).messages == 0; i++) {
        CU_ASSERT_TRUE(standin_wait_requests(rig.standin, i * EACH, PATIENCE_MS));
        rig_restart(&rig);
    }
    CU_ASSERT_TRUE(standin_counts(rig.standin).messages > 0);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).repeated, 0);
    rig_end(&rig);
}

/* Until the parked event has been tried once more, or is a dead letter, since that last try may be over already. */
static void wait_tried_or_dead(struct rig *rig)
{
    size_t tried = standin_counts(rig->standin).requests + 1;
    moment deadline = clock_now() + PATIENCE_MS;
    while (rig_counts(rig).dead == 0 && standin_counts(rig->standin).requests < tried && clock_now() < deadline)
        standin_wait_messages(rig->standin, SIZE_MAX, 20);
    CU_ASSERT_TRUE(clock_now() < deadline);
    standin_wait_messages(rig->standin, SIZE_MAX, 50);
}

/* Likewise, the one that was found is a dead letter in the end, though no process tries it more than once or twice. */
static void one_that_fails_dies_across_restarts(void)
{
    struct rig rig;
    struct notes notes = {.parked_count = 0};
    rig_prepare(&rig);
    rig.made.config.lanes = 1;
    rig.made.config.poison_after_ms = 1;
    rig_open(&rig);
    standin_fail(rig.standin, &(struct standin_fault){
                                  .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "POISON", .status = 500});
    rig_append(&rig, 0, 1000, "POISON");
    rig_run(&rig);
    forwarder_back_off(rig.forwarder, FAST_MS);
    for (moment deadline = clock_now() + PATIENCE_MS; notes.parked_count == 0 && clock_now() < deadline;
         rig_notes(&rig, &notes))
        standin_wait_messages(rig.standin, SIZE_MAX, 20);
    CU_ASSERT_EQUAL(notes.parked_count, 1);
    for (unsigned i = 1; i <= 4 && rig_counts(&rig).dead == 0; i++) {
        rig_restart(&rig);
        rig_append(&rig, i, 1000, NULL);
        CU_ASSERT_TRUE(standin_wait_messages(rig.standin, i, PATIENCE_MS));
        wait_tried_or_dead(&rig);
    }
    CU_ASSERT_EQUAL(rig_counts(&rig).dead, 1);
    rig_end(&rig);
}

static void a_mended_configuration_is_tried_at_once(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig.made.write_keys[0] = (char[]){"wk_wrong"};
    rig_open(&rig);
    rig_run(&rig);
    rig_append(&rig, 1, 1, NULL);
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin, 1, PATIENCE_MS));
    rig_restart(&rig);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 0);
    rig_halt(&rig);
    rig.made.write_keys[0] = rig.made.write_key[0];
    rig_open(&rig);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 1, PATIENCE_MS));
    CU_ASSERT_EQUAL(standin_counts(rig.standin).requests, 2);
    rig_end(&rig);
}

/* As if the machine's clock had run for two days; or it is as the server's again. */
static void believe_the_clock(const struct rig *rig)
{
    char clock[64];
    if (durable_is_postgresql()) {
        shifted_clock_set(0);
        return;
    }
    int length = snprintf(clock, sizeof clock, "%lld %lld\n", (long long)clock_unix_ms(),
                          (long long)clock_unix_ms() - 2 * 86400000LL);
    CU_ASSERT_TRUE(temporary_write(rig->state, "clock", 0600, clock, (size_t)length));
}

static void too_old_is_dead_only_when_the_clock_can_be_believed(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig.made.config.queue_retention_ms = 1;
    shifted_clock_set(durable_is_postgresql() ? 72 : 0);
    rig_open(&rig);
    rig_append(&rig, 1, 1, NULL);
    standin_wait_messages(rig.standin, 1, 10);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 1, PATIENCE_MS)); /* a new queue's clock is not believed yet */
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    rig_halt(&rig);

    believe_the_clock(&rig);
    rig_open(&rig);
    rig_append(&rig, 2, 1, NULL);
    standin_wait_messages(rig.standin, 2, 10);
    rig_run(&rig);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 1, 0));
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 1);
    rig_end(&rig);
}

/* An operator sends what was too old on its way again: it is tried, however old it is. */
static void replay_of_what_was_too_old_is_tried(void)
{
    struct rig rig;
    struct letters letters = {0};
    struct error why;
    size_t done = 0;
    rig_prepare(&rig);
    rig.made.config.queue_retention_ms = 1;
    rig_open(&rig);
    rig_run(&rig);
    rig_halt(&rig);
    believe_the_clock(&rig);
    rig_open(&rig);
    rig_append(&rig, 1, 1, NULL);
    standin_wait_messages(rig.standin, 1, 10);
    rig_run(&rig);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 1, 0));
    CU_ASSERT_EQUAL_FATAL(queue_letters(rig.queue, NULL, 0, 10, 1 << 20, &letters, &why), 1);
    CU_ASSERT_TRUE(queue_replay(rig.queue, &letters.at[0].id, 1, &done, &why));
    letters_free(&letters);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 1, PATIENCE_MS));
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    rig_end(&rig);
}

/* What this process writes into files; nothing is printed meanwhile. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Nothing could be written, and now it can: a stop is no reason to forget what was delivered meanwhile, though the next
 * try to note it were later. */
static void a_stop_notes_what_could_not_be_noted_before(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    standin_fail(rig.standin, &(struct standin_fault){.act = STANDIN_HOLD, .times = 1});
    rig_append(&rig, 1, 1, NULL);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_held(rig.standin, 1, PATIENCE_MS));
    limit_files(4096);
    standin_heal(rig.standin);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 1, PATIENCE_MS));
    poll(NULL, 0, 200); /* until it was tried */
    limit_files(RLIM_INFINITY);
    rig_restart(&rig);
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
    CU_ASSERT_EQUAL(rig_counts(&rig).delivered, 1);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 1);
    rig_end(&rig);
}

static void a_rate_is_kept(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig.made.config.deliver_rate = 80;
    rig_open(&rig);
    for (unsigned i = 0; i < 100; i++)
        rig_append(&rig, i, 20, NULL);
    moment start = clock_now();
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 100, PATIENCE_MS));
    CU_ASSERT_TRUE(clock_now() - start >= 900);
    rig_end(&rig);
}

static CU_TestInfo tests[] = {
    {"a backlog is delivered, each event once", a_backlog_is_delivered_each_once},
    {"duplicates are known after a restart", duplicates_are_known_after_a_restart},
    {"one refused among many is a dead letter, and can be replayed",
     one_refused_among_many_is_a_dead_letter_in_the_data_planes_words},
    {"a data plane that refuses everything fills no dead letters",
     a_data_plane_that_refuses_everything_fills_no_dead_letters},
    {"one that the data plane fails at is parked, then dead", one_that_the_data_plane_fails_at_is_parked_and_then_dead},
    {"many that the data plane fails at hold up no others", many_that_the_data_plane_fails_at_hold_up_no_others},
    {"what fails at everything is tried less and less", what_fails_at_everything_is_tried_less_and_less},
    {"a mended configuration is tried at once", a_mended_configuration_is_tried_at_once},
    {"too old is dead only when the clock can be believed", too_old_is_dead_only_when_the_clock_can_be_believed},
    {"one that fails is found across restarts", one_that_fails_is_found_across_restarts},
    {"one that fails dies across restarts", one_that_fails_dies_across_restarts},
    {"an asked pause of one lane is told, and ended", asked_pause_of_one_lane_is_told_and_ended},
    {"a replay of what was too old is tried", replay_of_what_was_too_old_is_tried},
    {"a stop notes what could not be noted before", a_stop_notes_what_could_not_be_noted_before},
    {"deliver_rate is kept", a_rate_is_kept},
    CU_TEST_INFO_NULL,
};

void suite_forwarder_durable_postgresql(void)
{
    suite_add("forwarder durable postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}

void suite_forwarder_durable(void)
{
    suite_add("forwarder durable", rig_in_memory, NULL, tests);
}
