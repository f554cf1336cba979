/* Whose fault is a refusal? Bad events are found and become dead letters, all others pass; what refuses everything
 * fills no dead letters. */
#include "tests/suites.h"
#include "tests/support/commands_run.h"
#include "tests/support/forward_rig.h"

#include <stdio.h>
#include <string.h>

#define PATIENCE_MS RIG_PATIENCE_MS
#define EVENTS 60
#define BAD 14
#define ALIKE 3 /* events of different leads, refused alike: then it is the operator's */
#define WORDS "this is not let through"

static void refuse(struct rig *rig, const char *marker, int status)
{
    standin_fail(
        rig->standin,
        &(struct standin_fault){
            .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = marker, .status = status, .body = WORDS});
}

/* How many of the dead letters have these words in their reason. */
static size_t letters_with(struct rig *rig, const char *words)
{
    struct letters letters = {0};
    struct error why;
    size_t count = 0;
    struct queue *queue = queue_open(&rig->made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT_TRUE(queue_letters(queue, NULL, 0, 1000, 1 << 20, &letters, &why) >= 0);
    for (size_t i = 0; i < letters.count; i++)
        count += letters.at[i].reason != NULL && strstr(letters.at[i].reason, words) != NULL;
    letters_free(&letters);
    queue_close(queue);
    return count;
}

static bool among_the_first(unsigned i)
{
    return i < BAD;
}

static bool among_the_last(unsigned i)
{
    return i >= EVENTS - BAD;
}

static bool every_fourth(unsigned i)
{
    return i % 4 == 1 && i / 4 < BAD;
}

/* A firewall refuses each body with a certain word, with whatever status it likes, and wherever the bad ones are. */
static void bad_ones_hold_up_nobody(void)
{
    static const struct {
        int status;
        bool (*is_bad)(unsigned);
        unsigned leads; /* each lead has so many events: EVENTS / leads */
    } rows[] = {
        {400, among_the_first, EVENTS}, {403, among_the_first, EVENTS}, {404, every_fourth, EVENTS},
        {422, among_the_last, EVENTS},  {403, every_fourth, 20},        {413, every_fourth, 7},
        {403, among_the_last, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig rig;
        char words[64];
        rig_prepare(&rig);
        rig_open(&rig);
        refuse(&rig, "POISON", rows[i].status);
        for (unsigned j = 0; j < EVENTS; j++)
            rig_append(&rig, j, rows[i].leads, rows[i].is_bad(j) ? "POISON" : NULL);
        moment begin = clock_now();
        rig_run(&rig);
        CU_ASSERT_TRUE(standin_wait_messages(rig.standin, EVENTS - BAD, PATIENCE_MS));
        CU_ASSERT_TRUE(rig_wait_counts(&rig, BAD, 0));
        printf("(%d: %zu requests, %lld ms) ", rows[i].status, standin_counts(rig.standin).requests,
               (long long)(clock_now() - begin));
        snprintf(words, sizeof words, "the data plane answered %d \"" WORDS "\"", rows[i].status);
        CU_ASSERT_EQUAL(letters_with(&rig, words), BAD);
        CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, EVENTS - BAD);
        CU_ASSERT_EQUAL(standin_counts(rig.standin).repeated, 0);
        rig_end(&rig);
    }
}

/* Waits until the operator is told to act. */
static bool wait_refused(struct rig *rig)
{
    struct notes notes = {.tries = 0};
    for (moment deadline = clock_now() + PATIENCE_MS; !notes.operator_must_act && clock_now() < deadline;) {
        rig_notes(rig, &notes);
        standin_wait_messages(rig->standin, SIZE_MAX, 20);
    }
    return notes.operator_must_act;
}

/* Status by status: a bad event alone, or with a good one of another lead, which the data plane takes. */
static void what_becomes_of_it_depends_on_status_and_others(void)
{
    enum end { DEAD, WAITS };
    static const struct {
        int status;
        enum end alone, with_another;
        bool operators; /* it is said at once that somebody has to act, and nothing else is sent */
    } rows[] = {
        {400, WAITS, DEAD, false}, {403, WAITS, DEAD, false}, {404, WAITS, DEAD, false},
        {413, WAITS, DEAD, false}, {422, WAITS, DEAD, false}, {200, WAITS, WAITS, true},
        {301, WAITS, WAITS, true}, {401, WAITS, WAITS, true}, {409, WAITS, WAITS, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig rig;
        struct notes notes;
        rig_prepare(&rig);
        rig.made.config.lanes = 1;
        rig_open(&rig);
        refuse(&rig, "POISON", rows[i].status);
        rig_append(&rig, 0, 2, "POISON");
        rig_run(&rig);
        CU_ASSERT_TRUE(standin_wait_requests(rig.standin, rows[i].operators ? 1 : 2, PATIENCE_MS)); /* an empty batch */
        CU_ASSERT_TRUE(rig_wait_counts(&rig, rows[i].alone == DEAD, rows[i].alone == WAITS));
        CU_ASSERT_TRUE(!rows[i].operators || wait_refused(&rig));
        rig_append(&rig, 1, 2, NULL);
        uint64_t waiting = rows[i].operators ? 2 : rows[i].with_another == WAITS;
        CU_ASSERT_TRUE(rig_wait_counts(&rig, rows[i].with_another == DEAD, waiting));
        rig_notes(&rig, &notes);
        CU_ASSERT_EQUAL(notes.operator_must_act, rows[i].operators);
        rig_end(&rig);
    }
}

/* As `check` does when it finds that the data plane takes the key. */
static void tell_mended(struct rig *rig)
{
    struct error why;
    struct queue *queue = queue_open(&rig->made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(queue);
    CU_ASSERT_TRUE(forward_mended(&rig->made.config, NULL));
    queue_wake(queue);
    queue_close(queue);
}

/* A disabled source, a firewall that refuses this machine: it is said at once, nothing is dead, and after the wait one
 * single event is tried, not whole batches. */
static void what_refuses_everything_is_the_operators(void)
{
    static const int statuses[] = {400, 404};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        struct rig rig;
        rig_prepare(&rig);
        rig_open(&rig);
        refuse(&rig, NULL, statuses[i]);
        for (unsigned j = 0; j < EVENTS; j++)
            rig_append(&rig, j, 20, NULL);
        rig_run(&rig);
        CU_ASSERT_TRUE(wait_refused(&rig));
        rig_halt(&rig); /* which awaits what is in flight */
        size_t requests = standin_counts(rig.standin).requests;
        CU_ASSERT_TRUE(requests <= 40); /* each lane's way from 16 events to one, and what is in flight then */
        rig_open(&rig);                 /* the wait is not over: nothing is sent */
        rig_run(&rig);
        standin_wait_messages(rig.standin, 1, 50);
        CU_ASSERT_EQUAL(standin_counts(rig.standin).requests, requests);
        CU_ASSERT_EQUAL(rig_counts(&rig).dead, 0);
        CU_ASSERT_EQUAL(rig_counts(&rig).waiting, EVENTS);
        tell_mended(&rig); /* which is wrong: one event is tried, and an empty batch */
        CU_ASSERT_TRUE(standin_wait_requests(rig.standin, requests + 2, PATIENCE_MS));
        standin_wait_messages(rig.standin, 1, 200);
        CU_ASSERT_EQUAL(standin_counts(rig.standin).requests, requests + 2);
        standin_heal(rig.standin);
        tell_mended(&rig);
        CU_ASSERT_TRUE(standin_wait_messages(rig.standin, EVENTS, PATIENCE_MS));
        CU_ASSERT_EQUAL(standin_counts(rig.standin).repeated, 0);
        rig_end(&rig);
    }
}

/* Somebody has enabled the source again, and asks `check`: what waits leaves at once. */
static void check_that_finds_it_mended_wakes_the_forwarder(void)
{
    static struct ran ran;
    struct rig rig;
    char text[PATH_SIZE + 256];
    rig_prepare(&rig);
    rig_open(&rig);
    refuse(&rig, NULL, 404);
    rig_append(&rig, 1, 1, NULL);
    rig_run(&rig);
    CU_ASSERT_TRUE(wait_refused(&rig));
    standin_heal(rig.standin);
    snprintf(text, sizeof text,
             "data_plane_url = %s\nstate_dir = %s\naccept_empty = yes\n[source one]\nwrite_key = wk_one\n", rig.url,
             rig.state);
    configuration_use(text);
    RUN(&ran, NULL, "check");
    configuration_forget();
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "the program was told to send what waits at once"));
    CU_ASSERT_PTR_NOT_NULL(strstr(ran.out, "accept_empty = yes: any server that answers 200"));
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 1, PATIENCE_MS));
    rig_end(&rig);
}

/* Whether the search ends: for some time nothing is sent. */
static bool comes_to_an_end(struct rig *rig)
{
    moment deadline = clock_now() + PATIENCE_MS;
    size_t before, requests = standin_counts(rig->standin).requests;
    do {
        before = requests;
        standin_wait_requests(rig->standin, before + 1, 1000);
        requests = standin_counts(rig->standin).requests;
    } while (requests > before && clock_now() < deadline);
    return requests == before;
}

/* Every event is refused, but an empty batch is not: after three of different leads it is said that somebody must act;
 * all stay. */
static void when_no_event_is_taken_it_is_said(void)
{
    static const unsigned leads[] = {20, ALIKE};
    for (size_t i = 0; i < sizeof leads / sizeof *leads; i++) {
        struct rig rig;
        unsigned events = leads[i] == ALIKE ? ALIKE : EVENTS;
        rig_prepare(&rig);
        rig_open(&rig);
        refuse(&rig, "messageId", 403);
        for (unsigned j = 0; j < events; j++)
            rig_append(&rig, j, leads[i], NULL);
        rig_run(&rig);
        CU_ASSERT_TRUE(wait_refused(&rig));
        standin_wait_messages(rig.standin, 1, 200);
        CU_ASSERT_EQUAL(rig_counts(&rig).dead, 0);
        CU_ASSERT_EQUAL(rig_counts(&rig).waiting, events);
        CU_ASSERT_TRUE(comes_to_an_end(&rig));
        rig_end(&rig);
    }
}

/* What somebody has to mend stays what is said, also when the data plane is away for a while after it. */
static void a_refusal_is_not_forgotten_for_a_cut(void)
{
    struct rig rig;
    struct notes notes = {.tries = 0};
    rig_prepare(&rig);
    rig_open(&rig);
    refuse(&rig, "messageId", 403);
    for (unsigned i = 0; i < ALIKE; i++)
        rig_append(&rig, i, ALIKE, NULL);
    rig_run(&rig);
    CU_ASSERT_TRUE(wait_refused(&rig));
    standin_heal(rig.standin);
    standin_fail(rig.standin, &(struct standin_fault){.act = STANDIN_CUT, .times = STANDIN_ALWAYS});
    rig_append(&rig, ALIKE, 100, NULL);
    for (moment deadline = clock_now() + PATIENCE_MS; notes.tries == 0 && clock_now() < deadline;) {
        rig_notes(&rig, &notes);
        standin_wait_messages(rig.standin, SIZE_MAX, 20);
    }
    CU_ASSERT_TRUE(notes.tries > 0 && notes.operator_must_act);
    CU_ASSERT_PTR_NOT_NULL(strstr(notes.reason, "the data plane answered 403"));
    rig_end(&rig);
}

/* The source is disabled while events flow: what had been accepted before proves nothing. */
static void what_was_accepted_before_proves_nothing(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    for (unsigned i = 0; i < EVENTS; i++)
        rig_append(&rig, i, EVENTS, NULL);
    rig_run(&rig);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, EVENTS, PATIENCE_MS));
    refuse(&rig, NULL, 404);
    for (unsigned i = 0; i < EVENTS; i++)
        rig_append(&rig, 1000 + i, EVENTS, NULL);
    CU_ASSERT_TRUE(wait_refused(&rig));
    CU_ASSERT_TRUE(comes_to_an_end(&rig)); /* what was in flight */
    CU_ASSERT_EQUAL(rig_counts(&rig).dead, 0);
    CU_ASSERT_EQUAL(rig_counts(&rig).waiting, EVENTS);
    size_t requests = standin_counts(rig.standin).requests;
    tell_mended(&rig); /* which is wrong: one event is tried, though all lanes have some, and an empty batch */
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin, requests + 2, PATIENCE_MS));
    standin_wait_messages(rig.standin, SIZE_MAX, 200);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).requests, requests + 2);
    rig_end(&rig);
}

/* One event alone is refused: it waits until another one was accepted; what is about its lead waits behind it. */
static void a_lone_one_waits_for_another(void)
{
    struct rig rig;
    rig_prepare(&rig);
    rig_open(&rig);
    refuse(&rig, "POISON", 403);
    rig_run(&rig);
    rig_append(&rig, 0, 2, "POISON");
    rig_append(&rig, 2, 2, NULL);
    rig_append(&rig, 4, 2, NULL);
    standin_wait_messages(rig.standin, 1, 300);
    CU_ASSERT_EQUAL(rig_counts(&rig).dead, 0);
    CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 0);
    rig_append(&rig, 1, 2, NULL); /* another lead's */
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 3, PATIENCE_MS));
    CU_ASSERT_TRUE(rig_wait_counts(&rig, 1, 0));
    CU_ASSERT_EQUAL(letters_with(&rig, WORDS), 1);
    CU_ASSERT_TRUE(standin_find(rig.standin, "ev_2")->request <= standin_find(rig.standin, "ev_4")->request);
    rig_end(&rig);
}

/* All others were accepted before it: what was accepted lately and an empty batch show that the fault is its own, so
 * that what is about its lead goes on. */
static void a_lone_one_after_others_waits_for_nobody(void)
{
    static const int statuses[] = {400, 403, 404, 422};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        struct rig rig;
        rig_prepare(&rig);
        rig_open(&rig);
        rig_run(&rig);
        for (unsigned j = 0; j < 4; j++)
            rig_append(&rig, j, 4, NULL);
        CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
        refuse(&rig, "POISON", statuses[i]);
        rig_append(&rig, 4, 4, "POISON");
        rig_append(&rig, 8, 4, NULL);
        rig_append(&rig, 12, 4, NULL);
        CU_ASSERT_TRUE(rig_wait_counts(&rig, 1, 0));
        CU_ASSERT_EQUAL(letters_with(&rig, WORDS), 1);
        CU_ASSERT_EQUAL(standin_counts(rig.standin).messages, 6);
        CU_ASSERT_TRUE(standin_find(rig.standin, "ev_8")->request <= standin_find(rig.standin, "ev_12")->request);
        rig_end(&rig);
    }
}

/* From now on a firewall refuses every event, but no empty batch: what was accepted before counts for one event only,
 * whether they come one by one or together. */
static void what_was_accepted_lately_counts_for_one(void)
{
    static const unsigned together[] = {1, ALIKE};
    for (size_t i = 0; i < sizeof together / sizeof *together; i++) {
        struct rig rig;
        rig_prepare(&rig);
        rig_open(&rig);
        rig_run(&rig);
        rig_append(&rig, 0, 1, NULL);
        CU_ASSERT_TRUE(rig_wait_counts(&rig, 0, 0));
        refuse(&rig, "messageId", 403);
        for (unsigned j = 1; j <= 2 * ALIKE; j++) {
            rig_append(&rig, j, 100, NULL);
            standin_wait_messages(rig.standin, SIZE_MAX, j % together[i] == 0 ? 60 : 0);
        }
        CU_ASSERT_TRUE(wait_refused(&rig));
        struct counts counts = rig_counts(&rig);
        CU_ASSERT_TRUE(counts.dead <= 1);
        CU_ASSERT_EQUAL(counts.dead + counts.waiting, 2 * ALIKE);
        standin_heal(rig.standin);
        tell_mended(&rig);
        CU_ASSERT_TRUE(standin_wait_messages(rig.standin, 2 * ALIKE, PATIENCE_MS));
        rig_end(&rig);
    }
}

void suite_forwarder_search(void)
{
    static CU_TestInfo tests[] = {
        {"14 bad of 60 hold up nobody, and are dead letters", bad_ones_hold_up_nobody},
        {"what becomes of it depends on status and others", what_becomes_of_it_depends_on_status_and_others},
        {"what refuses everything is the operator's", what_refuses_everything_is_the_operators},
        {"`check` that finds it mended wakes the forwarder", check_that_finds_it_mended_wakes_the_forwarder},
        {"when no event is taken it is said, and all stay", when_no_event_is_taken_it_is_said},
        {"what was accepted before proves nothing", what_was_accepted_before_proves_nothing},
        {"a lone one waits for another, its lead behind it", a_lone_one_waits_for_another},
        {"a refusal is not forgotten for a cut", a_refusal_is_not_forgotten_for_a_cut},
        {"a lone one after others waits for nobody", a_lone_one_after_others_waits_for_nobody},
        {"what was accepted lately counts for one", what_was_accepted_lately_counts_for_one},
        CU_TEST_INFO_NULL,
    };
    suite_add("forwarder search", rig_in_memory, NULL, tests);
}
