/* How it is, in words, and what is a cause of an alert: from made facts, a row for each thing that can be wrong. */
#include "health/causes.h"
#include "tests/suites.h"
#include "tests/support/made_config.h"
#include "webhook/refusals.h"

#include <stdlib.h>
#include <string.h>

#define NOW ((int64_t)1700000000000)

static struct made_config made;
static struct source_facts *one; /* the only source; too large for the stack */
static struct facts facts;

/* All is well: an event was delivered a minute ago. */
static void make_well(void)
{
    static char url[] = "http://127.0.0.1:9";
    made_config_init(&made, url, url);
    made.config.queue = QUEUE_SQLITE;
    made.config.queue_max_bytes = 100 << 20;
    made.config.alert_waiting_ms = 600000;
    made.config.alert_silence_ms = 3600000;
    memset(one, 0, sizeof *one);
    one->source = &made.source[0];
    memcpy(one->name, "one", 4);
    one->counts = (struct counts){
        .accepted = 5, .delivered = 5, .last_accepted_ms = NOW - 60000, .last_delivered_ms = NOW - 60000};
    facts = (struct facts){.config = &made.config,
                           .now_ms = NOW,
                           .queue_works = true,
                           .is_durable = true,
                           .is_owned = true,
                           .disk_free = UINT64_MAX,
                           .source = one,
                           .sources = 1};
}

static void be_refused(void)
{
    one->notes.operator_must_act = true;
    memcpy(one->notes.reason, "it answered 401", 16);
    one->counts.waiting = 1;
}

static void fail(void)
{
    one->notes.tries = 3;
    one->notes.since_ms = NOW - 7200000;
    memcpy(one->notes.reason, "no answer", 10);
    one->counts.waiting = 1;
}

static void wait_long(void)
{
    one->counts.waiting = 2;
    one->oldest_seconds = 700;
}

static void nobody_forwards(void)
{
    wait_long();
    facts.is_owned = false;
    error_set(&facts.owner, "none since then");
}

static void lose_key(void)
{
    error_set(&one->locked, "the key of whsub_1 is not held");
}

static void pause_subscription(void)
{
    one->close.paused = true;
    memcpy(one->close.trouble, "permission_revoked", 19);
}

static void refuse_for_want_of_room(void)
{
    one->tally.refused_last_ms[REFUSED_QUEUE_FULL] = NOW - 1000;
}

static void have_no_room(void)
{
    error_set(&facts.no_room, "the disk is full: make room on the disk");
}

static void be_unsettled(void)
{
    one->counts.waiting = 1;
    error_set(&facts.unsettled, "the disk is full: make room on the disk");
}

static void fill_queue(void)
{
    facts.room = (struct queue_room){.used = (uint64_t)made.config.queue_max_bytes, .share = 1 << 18};
    one->tally.refused_last_ms[REFUSED_QUEUE_FULL] = NOW - 1000;
}

static void nearly_fill_queue(void)
{
    facts.room = (struct queue_room){.used = (uint64_t)made.config.queue_max_bytes / 10 * 9, .share = 1 << 18};
}

static void have_many_letters(void)
{
    facts.room = (struct queue_room){.used = 9 << 20, .letters = (9 << 20) - 4096, .share = 1 << 18};
}

static void have_letters_that_end(void)
{
    one->counts.ending = 2;
    one->counts.ending_ms = NOW + 86400000;
}

static void break_queue(void)
{
    facts.queue_works = false;
    error_set(&facts.queue_why, "it is gone");
}

static void forget_cron(void)
{
    facts.cron_ms = NOW - 3600000;
}

static void keep_letters(void)
{
    one->counts.dead = 2;
}

static void be_silent(void)
{
    one->counts.last_accepted_ms = one->counts.last_delivered_ms = NOW - 7200000;
}

static void fill_disk(void)
{
    facts.disk_free = 10 << 20;
}

static void be_complete(void)
{
    one->close.until_ms = NOW - 60000;
}

static void be_new(void)
{
    one->counts = (struct counts){0};
}

static void nothing(void)
{
}

static const struct {
    void (*happen)(void);
    enum facts_state state;
    const char *words; /* of the source */
    const char *cause; /* the only one that is raised; NULL: none */
    const char *told;  /* its words */
} rows[] = {
    {nothing, STATE_GOOD, "Healthy. Last delivered 60 seconds ago.", NULL, NULL},
    {be_new, STATE_GOOD, "Nothing has come yet.", NULL, NULL},
    {be_complete, STATE_GOOD, "Healthy. Last delivered 60 seconds ago. Complete until 2023-11-14 22:12:20 UTC.", NULL,
     NULL},
    {be_silent, STATE_GOOD, "Healthy. Last delivered 2 hours ago.", "silence", "nothing was accepted for 2 hours"},
    {be_refused, STATE_BAD,
     "The data plane refuses what is sent: it answered 401. Events are kept and wait until you have mended it.",
     "data_plane_refuses", "it answered 401"},
    {fail, STATE_WORRY,
     "The data plane has not taken anything for 2 hours: no answer. Events are kept and tried again.", NULL, NULL},
    {wait_long, STATE_WORRY, "Events wait, the oldest for 11 minutes.", "events_wait",
     "2 events wait, the oldest for 11 minutes"},
    {nobody_forwards, STATE_BAD, "Events wait, and no process forwards them: none since then.", "events_wait",
     "2 events wait, the oldest for 11 minutes"},
    {lose_key, STATE_BAD, "Nothing is let in, and Close keeps its events meanwhile: the key of whsub_1 is not held.",
     NULL, NULL},
    {pause_subscription, STATE_BAD,
     "Close has paused the subscription and sends nothing until it is activated again: permission_revoked.",
     "subscription_paused", "Close has paused the subscription and sends nothing: permission_revoked"},
    {fill_queue, STATE_BAD,
     "The queue is full (100 MiB of events that wait or are known, 0 MiB of dead letters): nothing is accepted, Close "
     "keeps its events meanwhile.",
     "queue_full",
     "the queue is full, and new events are refused: 100 MiB of events that wait or are known, 0 MiB of dead letters "
     "of 100 MiB (queue_max_bytes)"},
    {refuse_for_want_of_room, STATE_BAD,
     "1 second ago an event was refused for want of room, and none was accepted since: Close keeps it.", "queue_full",
     "1 second ago an event was refused for want of room, and none was accepted since"},
    {have_no_room, STATE_BAD,
     "Nothing is accepted, and Close keeps its events meanwhile: the disk is full: make room on the disk.",
     "queue_full", "new events are refused: the disk is full: make room on the disk"},
    {be_unsettled, STATE_BAD,
     "Nothing is forwarded, for it could not be noted as delivered: the disk is full: make room on the disk.",
     "queue_full",
     "what waits is not sent, for it could not be noted as delivered: the disk is full: make room on the disk"},
    {nearly_fill_queue, STATE_GOOD, "Healthy. Last delivered 60 seconds ago.", "queue_full",
     "the queue is nearly full: 90 MiB of events that wait or are known, 0 MiB of dead letters of 100 MiB "
     "(queue_max_bytes)"},
    {have_many_letters, STATE_GOOD, "Healthy. Last delivered 60 seconds ago.", "dead_letters_large",
     "dead letters take 8 MiB, more than their quarter of queue_max_bytes: they are kept; `closecrm.fcgi dead drop` "
     "throws away those that you name"},
    {have_letters_that_end, STATE_WORRY, "2 dead letters end from 2023-11-15 22:13:20 UTC on: replay or export them.",
     "dead_letters_end",
     "2 dead letters end from 2023-11-15 22:13:20 UTC on (dead_retention): replay them, or keep a copy: `closecrm.fcgi "
     "backup FILE`"},
    {break_queue, STATE_BAD, "The queue cannot be used: it is gone.", "queue_broken", "it is gone"},
    {forget_cron, STATE_WORRY, "No cron since 2023-11-14 21:13:20 UTC: its crontab line is gone or fails.",
     "cron_overdue", "`closecrm.fcgi cron` has not run for 60 minutes"},
    {keep_letters, STATE_WORRY, "2 dead letters: see the reasons below.", "dead_letters",
     "2 dead letters are kept: `closecrm.fcgi dead list` shows why"},
    {fill_disk, STATE_BAD, "Healthy. Last delivered 60 seconds ago.", "disk_nearly_full",
     "10 MiB are free where the queue is"},
};

#define ROWS (sizeof rows / sizeof *rows)

static int take_memory(void)
{
    one = calloc(1, sizeof *one);
    return one == NULL;
}

static int give_memory(void)
{
    free(one);
    return 0;
}

static void test_words(void)
{
    for (size_t i = 0; i < ROWS; i++) {
        make_well();
        rows[i].happen();
        facts_judge(&facts);
        CU_ASSERT_STRING_EQUAL(one->words.text, rows[i].words);
        CU_ASSERT_EQUAL(facts.state, rows[i].state);
    }
}

static void test_causes(void)
{
    struct causes causes = {0};
    for (size_t i = 0; i < ROWS; i++) {
        const char *raised = NULL;
        make_well();
        rows[i].happen();
        CU_ASSERT_TRUE_FATAL(causes_find(&facts, NOW - 60000, &causes));
        for (size_t k = 0; k < causes.count; k++) {
            if (!causes.at[k].raised)
                continue;
            CU_ASSERT_PTR_NULL(raised);
            CU_ASSERT_STRING_EQUAL(causes.at[k].words.text, rows[i].told);
            raised = causes.at[k].name;
        }
        CU_ASSERT_STRING_EQUAL(raised == NULL ? "none" : raised, rows[i].cause == NULL ? "none" : rows[i].cause);
    }
    causes_free(&causes);
}

/* What is told when an alert ends must be true then. */
static void test_words_of_what_is_over(void)
{
    static const struct {
        const char *name, *words;
    } over[] = {
        {"events_wait", "no event waits longer than alert_waiting any more"},
        {"data_plane_refuses",
         "the data plane is not known to refuse any more: it takes events, or they are tried anew"},
        {"dead_letters", "no dead letters are kept any more"},
        {"dead_letters_end", "no dead letter is about to end any more"},
        {"dead_letters_large", "dead letters take 0 MiB, no more than their quarter of queue_max_bytes"},
        {"subscription_paused", "Close has no subscription paused any more"},
        {"queue_full", "the queue is neither full nor nearly full any more"},
        {"silence", "an event was accepted 60 seconds ago"},
        {"disk_nearly_full", "2048 MiB are free where the queue is"},
        {"cron_overdue", "`closecrm.fcgi cron` ran 30 seconds ago"},
        {"queue_broken", "the queue works"},
    };
    struct causes causes = {0};
    make_well();
    facts.disk_free = (uint64_t)2 << 30;
    facts.cron_ms = NOW - 30000;
    CU_ASSERT_TRUE_FATAL(causes_find(&facts, NOW - 60000, &causes));
    CU_ASSERT_EQUAL_FATAL(causes.count, sizeof over / sizeof *over);
    for (size_t i = 0; i < causes.count; i++) {
        CU_ASSERT_FALSE(causes.at[i].raised);
        CU_ASSERT_STRING_EQUAL(causes.at[i].name, over[i].name);
        CU_ASSERT_STRING_EQUAL(causes.at[i].words.text, over[i].words);
    }
    causes_free(&causes);
}

static bool lists(const struct causes *causes, const char *name)
{
    for (size_t i = 0; i < causes->count; i++) {
        if (strcmp(causes->at[i].name, name) == 0)
            return true;
    }
    return false;
}

/* After a restart nothing is over because it was not looked at for long enough. */
static void test_what_cannot_be_told_is_left_out(void)
{
    struct causes causes = {0};
    make_well();
    be_new();
    CU_ASSERT_TRUE_FATAL(causes_find(&facts, NOW - 1000, &causes));
    CU_ASSERT_FALSE(lists(&causes, "silence") || lists(&causes, "cron_overdue") || lists(&causes, "disk_nearly_full"));
    CU_ASSERT_TRUE(lists(&causes, "queue_broken"));
    break_queue();
    CU_ASSERT_TRUE_FATAL(causes_find(&facts, NOW - 1000, &causes));
    CU_ASSERT_FALSE(lists(&causes, "queue_broken") || lists(&causes, "events_wait"));
    causes_free(&causes);
}

/* The worst comes first, and names its source where there are several. */
static void test_the_sentence_at_the_top(void)
{
    struct source_facts *two = calloc(2, sizeof *two);
    CU_ASSERT_PTR_NOT_NULL_FATAL(two);
    make_well();
    keep_letters();
    two[0] = *one;
    make_well();
    be_refused();
    two[1] = *one;
    memcpy(two[1].name, "two", 4);
    facts.source = two;
    facts.sources = 2;
    facts_judge(&facts);
    CU_ASSERT_STRING_EQUAL(facts.words.text,
                           "Something is wrong: two: The data plane refuses what is sent: it answered "
                           "401. Events are kept and wait until you have mended it.");
    CU_ASSERT_EQUAL(facts.state, STATE_BAD);
    free(two);
}

void suite_status_words(void)
{
    static CU_TestInfo tests[] = {
        {"words", test_words},
        {"causes", test_causes},
        {"words of what is over", test_words_of_what_is_over},
        {"what cannot be told is left out", test_what_cannot_be_told_is_left_out},
        {"the sentence at the top", test_the_sentence_at_the_top},
        CU_TEST_INFO_NULL,
    };
    suite_add("status_words", take_memory, give_memory, tests);
}
