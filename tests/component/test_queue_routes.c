/* Sources whose queues are in different databases: each call goes to the right one, and a server that is away or stands
 * still stops no source of the others. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "health/facts.h"
#include "health/findings.h"
#include "status/status_private.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/forward_rig.h"
#include "tests/support/queue_rig.h"

#define PATIENCE_MS 30000
#define SHORT_MS 1000

static struct made_config made; /* `one` is in the first server's database, `two` in the second one's */
static char directory[PATH_SIZE], state[PATH_SIZE];
static struct queue_rig_engine first, second;
static struct events found;

static int begin(void)
{
    bool good = queue_rig_set_up(&made, directory, state) == 0 && postgresql_start(&second.postgresql, "");
    path_join(state, directory, "state");
    return !(good && queue_rig_postgresql(&first, &made));
}

static int end(void)
{
    queue_rig_engine_end(&first);
    queue_rig_engine_end(&second);
    return queue_rig_tear_down(directory, &found);
}

static void make_databases(struct made_config *config)
{
    queue_rig_new(&first, &made);
    queue_rig_new(&second, &made);
    config->config.queue = QUEUE_POSTGRESQL;
    config->config.queue_url = first.url;
    config->source[0].queue_url = NULL;
    config->source[1].queue_url = second.url;
}

static struct queue *open_new(void)
{
    make_databases(&made);
    return queue_rig_open(&made);
}

/* Until both sources are this process's, or the second one is not. */
static bool reach(struct queue *queue, bool both)
{
    struct error why;
    for (moment until = clock_now() + PATIENCE_MS; clock_now() < until; poll(NULL, 0, 20)) {
        queue_claim(queue, &why);
        queue_clear_wakeup(queue);
        if (queue_tenure(queue, "one") != 0 && (queue_tenure(queue, "two") != 0) == both)
            return true;
    }
    return false;
}

static bool settle(struct queue *queue, const char *source, uint64_t id, enum verdict_kind kind)
{
    struct error why = {0};
    struct verdict verdict = {.id = id, .kind = kind, .reason = "test"};
    return queue_settle(queue, source, &verdict, 1, &why);
}

static bool has(const struct strings *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->at[i], name) == 0)
            return true;
    }
    return false;
}

static void each_source_is_in_its_database(void)
{
    static const char *const sources[] = {"one", "two"};
    struct error why = {0}, words;
    struct queue_setup setup;
    struct strings names;
    struct queue *queue = open_new(), *looks = queue_rig_open(&made);
    for (size_t i = 0; i < 2; i++)
        queue_rig_append(queue, sources[i], sources[i]);
    CU_ASSERT_STRING_EQUAL(postgresql_ask(second.url, "SELECT convert_from(body, 'UTF8') FROM closecrm.event"), "two");
    CU_ASSERT_FALSE(queue_has_reader(queue, "two"));
    CU_ASSERT_TRUE_FATAL(reach(queue, true));
    CU_ASSERT_TRUE(queue_has_reader(queue, "two"));
    for (size_t i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(queue_next(queue, sources[i], 0, 10, 4096, &found, &why), 1);
        CU_ASSERT_NSTRING_EQUAL(found.at[0].body, sources[i], 3);
        CU_ASSERT_TRUE(settle(queue, sources[i], 1, VERDICT_DEAD));
        CU_ASSERT_EQUAL(queue_rig_counts(looks, sources[i]).dead, 1);
    }
    CU_ASSERT_TRUE(queue_names(looks, &names, &why));
    CU_ASSERT_TRUE(has(&names, "one") && has(&names, "two"));
    queue_names_free(&names);
    bool owned;
    CU_ASSERT_TRUE(queue_is_owned(looks, &owned, &words, &why));
    CU_ASSERT_TRUE(owned);
    CU_ASSERT_PTR_NOT_NULL(strstr(words.text, "source one: process "));
    CU_ASSERT_PTR_NOT_NULL(strstr(words.text, "; source two: process "));
    CU_ASSERT_TRUE(queue_describe(looks, &setup, &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(setup.server, " (of source one); "));
    CU_ASSERT_PTR_NOT_NULL(strstr(setup.server, " (of source two)"));
    CU_ASSERT_PTR_NOT_NULL(strstr(setup.copies, " (of source two)")); /* one of them may have no standby */
    check(strstr(setup.worry.text, "source one: fsync") != NULL &&
              strstr(setup.worry.text, "; source two: fsync") != NULL,
          "the worries of both: %s", setup.worry.text); /* the tests' servers do not sync */
    queue_close(looks);
    queue_close(queue);
}

/* The same ids in both databases: people's ids tell them apart. */
static void dead_letters_of_all_have_different_ids(void)
{
    struct error why = {0};
    struct letters letters = {0};
    uint64_t ids[2];
    size_t done;
    struct queue *queue = open_new();
    queue_rig_append(queue, "one", "a");
    queue_rig_append(queue, "two", "b");
    CU_ASSERT_TRUE_FATAL(reach(queue, true));
    CU_ASSERT_TRUE(settle(queue, "one", 1, VERDICT_DEAD) && settle(queue, "two", 1, VERDICT_DEAD));
    CU_ASSERT_EQUAL(queue_letters(queue, NULL, 0, 10, 4096, &letters, &why), 1);
    ids[0] = letters.at[0].id;
    CU_ASSERT_EQUAL(queue_letters(queue, NULL, ids[0], 10, 4096, &letters, &why), 1);
    ids[1] = letters.at[0].id;
    CU_ASSERT_STRING_EQUAL(letters.at[0].source, "two");
    CU_ASSERT_EQUAL(queue_letters(queue, NULL, ids[1], 10, 4096, &letters, &why), 0);
    CU_ASSERT_EQUAL(queue_letters(queue, "two", 0, 10, 4096, &letters, &why), 1);
    CU_ASSERT_EQUAL(letters.at[0].id, ids[1]);
    CU_ASSERT_EQUAL(ids[0], 1);
    CU_ASSERT_EQUAL(ids[1], UINT64_C(1000000000001));
    CU_ASSERT_TRUE(queue_discard(queue, ids + 1, 1, &done, &why));
    CU_ASSERT_EQUAL(done, 1);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").dead, 1);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "two").dead, 0);
    CU_ASSERT_TRUE(queue_replay(queue, ids, 2, &done, &why));
    CU_ASSERT_EQUAL(done, 1);
    CU_ASSERT_EQUAL(queue_rig_counts(queue, "one").waiting, 1);
    letters_free(&letters);
    queue_close(queue);
}

static void a_request_comes_to_its_source(void)
{
    struct queue_request taken, asked = {.source = "two", .event = 9};
    struct error why = {0}, words;
    enum queue_answer answer = QUEUE_ASKED;
    bool withdrawn;
    int64_t number;
    struct queue *queue = open_new(), *command = queue_rig_open(&made);
    CU_ASSERT_TRUE_FATAL(reach(queue, true));
    CU_ASSERT_TRUE(queue_ask(command, &asked, &number, &why));
    poll(NULL, 0, 1100);
    queue_clear_wakeup(queue);
    CU_ASSERT_TRUE_FATAL(queue_take_request(queue, &taken));
    CU_ASSERT_STRING_EQUAL(taken.source, "two");
    queue_answer_request(queue, taken.number, true, "it is done");
    CU_ASSERT_TRUE(queue_answer(command, number, &answer, &words, &why));
    CU_ASSERT_EQUAL(answer, QUEUE_DONE);
    CU_ASSERT_STRING_EQUAL(words.text, "it is done");
    CU_ASSERT_TRUE(queue_withdraw(command, number, true, &withdrawn, &why) && withdrawn);
    queue_close(command);
    queue_close(queue);
}

/* The longest of some turns of source one, ms. */
static int64_t work_on_one(struct queue *queue, int64_t ms)
{
    int64_t slowest = 0;
    uint64_t last = 0;
    for (moment until = clock_now() + ms; clock_now() < until; poll(NULL, 0, 20)) {
        struct error why = {0};
        moment began = clock_now();
        queue_rig_append(queue, "one", "event");
        queue_clear_wakeup(queue);
        check(queue_next(queue, "one", last, 10, 4096, &found, &why) == 1, "one goes on: %s", why.text);
        last = found.count > 0 ? found.at[0].id : last;
        CU_ASSERT_TRUE(settle(queue, "one", last, VERDICT_DELIVERED));
        slowest = clock_now() - began > slowest ? clock_now() - began : slowest;
    }
    return slowest;
}

static void a_server_that_stands_still_stops_no_other_source(void)
{
    struct error why = {0};
    struct counts counts;
    struct strings names;
    struct queue *queue = open_new(), *looks = queue_rig_open(&made);
    queue_rig_append(queue, "two", "before");
    CU_ASSERT_TRUE_FATAL(reach(queue, true));
    uint64_t one = queue_tenure(queue, "one"), two = queue_tenure(queue, "two");
    queue_rig_counts(looks, "two");
    postgresql_signal(&second.postgresql, SIGSTOP);
    CU_ASSERT_EQUAL(queue_next(queue, "two", 0, 10, 4096, &found, &why), -1);
    CU_ASSERT_EQUAL(queue_tenure(queue, "two"), 0);
    CU_ASSERT_FALSE(queue_is_lost(queue));
    CU_ASSERT_EQUAL(queue_append(queue, "two", "x", 1, clock_now() + SHORT_MS, &why), QUEUE_UNKNOWN);
    int64_t slowest = work_on_one(queue, 5000); /* meanwhile it is asked again and again */
    printf("(%lld ms) ", (long long)slowest);
    check(slowest < SHORT_MS, "the other source is held up for %lld ms", (long long)slowest);
    CU_ASSERT_EQUAL(queue_tenure(queue, "one"), one);
    postgresql_signal(&second.postgresql, SIGCONT);
    CU_ASSERT_TRUE(reach(queue, true));
    CU_ASSERT_NOT_EQUAL(queue_tenure(queue, "two"), two);
    CU_ASSERT_EQUAL(queue_tenure(queue, "one"), one);
    CU_ASSERT_TRUE(queue_next(queue, "two", 0, 10, 4096, &found, &why) >= 1);
    poll(NULL, 0, 1100); /* now for who looks, on a connection that was silent for a while */
    postgresql_signal(&second.postgresql, SIGSTOP);
    moment began = clock_now();
    CU_ASSERT_FALSE(queue_count(looks, "two", &counts, &why));
    check(clock_now() - began < 7000, "who looks waits for %lld ms", (long long)(clock_now() - began));
    began = clock_now();
    for (int i = 0; i < 20; i++)
        CU_ASSERT_TRUE(queue_count(looks, "one", &counts, &why) && !queue_count(looks, "two", &counts, &why));
    check(clock_now() - began < SHORT_MS, "and then for %lld ms", (long long)(clock_now() - began));
    CU_ASSERT_TRUE(queue_names(looks, &names, &why) && has(&names, "one"));
    queue_names_free(&names);
    CU_ASSERT_TRUE(queue_probe(looks, true, &why));
    postgresql_signal(&second.postgresql, SIGCONT);
    queue_close(looks);
    queue_close(queue);
}

/* Page, check, metrics and health checks. */
static void what_is_away_is_told_and_hides_nothing_of_the_others(void)
{
    struct error why = {0};
    struct buffer metrics = {0};
    struct finding finding;
    char words[REPORT_SIZE];
    struct queue *queue = open_new(), *looks = queue_rig_open(&made);
    queue_rig_append(queue, "one", "a");
    queue_rig_append(queue, "two", "b");
    queue_close(queue);
    process_stop(&second.postgresql.server, PATIENCE_MS);
    struct facts *facts = facts_gather(&made.config, looks, NULL, NULL, clock_unix_ms());
    CU_ASSERT_PTR_NOT_NULL_FATAL(facts);
    CU_ASSERT_TRUE(facts->queue_works);
    CU_ASSERT_EQUAL(facts->source[0].counts.waiting, 1);
    CU_ASSERT_STRING_EQUAL(facts->source[0].away.text, "");
    CU_ASSERT_PTR_NOT_NULL(strstr(facts->setup.server, " (of source one)"));
    CU_ASSERT_EQUAL(finding_judge(FINDING_QUEUE_PARTLY_BROKEN, facts, NULL, &finding), FINDING_FOUND);
    CU_ASSERT_PTR_NOT_NULL(strstr(finding.sentence, "source two has a queue that cannot be used: the database of "));
    CU_ASSERT_EQUAL(finding_judge(FINDING_EVENTS_WAIT, facts, &facts->source[1], NULL), FINDING_UNKNOWN);
    for (size_t i = 0; i < 2; i++)
        facts->source[i].signature = SIGNED_NEVER; /* keys were never read here */
    CU_ASSERT_TRUE(findings_judge(facts));
    CU_ASSERT_NOT_EQUAL(report_severity(facts, &facts->source[0]), SEVERITY_BAD);
    CU_ASSERT_PTR_NULL(strstr(report_words(facts, &facts->source[0], words), "cannot be used"));
    CU_ASSERT_EQUAL(report_severity(facts, &facts->source[1]), SEVERITY_BAD);
    CU_ASSERT_EQUAL(strncmp(report_words(facts, &facts->source[1], words), "Its queue cannot be used: the data", 34),
                    0);
    metrics_write(&metrics, facts, false);
    buffer_append(&metrics, "", 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(metrics.data);
    CU_ASSERT_PTR_NOT_NULL(strstr(metrics.data, "waiting_events{source=\"one\"} 1\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(metrics.data, "source_queue_up{source=\"one\"} 1\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(metrics.data, "source_queue_up{source=\"two\"} 0\n"));
    CU_ASSERT_PTR_NULL(strstr(metrics.data, "waiting_events{source=\"two\"}"));
    CU_ASSERT_TRUE(queue_probe(looks, true, &why));
    buffer_free(&metrics);
    facts_free(facts);
    queue_close(looks);
    CU_ASSERT_TRUE(postgresql_begin(&second.postgresql));
}

static void a_server_that_is_away_from_the_start_comes_later(void)
{
    struct queue *queue = open_new();
    process_stop(&second.postgresql.server, PATIENCE_MS);
    CU_ASSERT_TRUE(reach(queue, false));
    int64_t slowest = work_on_one(queue, SHORT_MS);
    check(slowest < SHORT_MS, "the other source is held up for %lld ms", (long long)slowest);
    CU_ASSERT_TRUE(postgresql_begin(&second.postgresql));
    CU_ASSERT_TRUE(reach(queue, true));
    queue_rig_append(queue, "two", "event");
    queue_close(queue);
}

/* The whole forwarder: of the two sources one's server stands still, and goes on. */
static void forwarding_goes_on_on_the_other_server(void)
{
    enum { COUNT = 100 };
    struct rig rig;
    struct event_text text = {0};
    struct counts counts = {0};
    struct error why = {0};
    rig_prepare(&rig);
    make_databases(&rig.made);
    rig_open(&rig);
    rig_run(&rig);
    event_make(&text, &(struct event_options){.id = "ev_of_two", .lead = "lead_two"});
    postgresql_signal(&second.postgresql, SIGSTOP);
    moment began = clock_now();
    for (unsigned i = 0; i < COUNT; i++)
        rig_append(&rig, i, 10, NULL);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, COUNT, PATIENCE_MS));
    printf("(%lld ms) ", (long long)(clock_now() - began));
    check(clock_now() - began < 15000, "it takes %lld ms", (long long)(clock_now() - began));
    postgresql_signal(&second.postgresql, SIGCONT);
    CU_ASSERT_EQUAL(queue_append(rig.queue, "two", text.body.data, text.body.length, clock_now() + PATIENCE_MS, &why),
                    QUEUE_STORED);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin, COUNT + 1, PATIENCE_MS));
    struct queue *looks = queue_rig_open(&rig.made);
    for (moment until = clock_now() + PATIENCE_MS; counts.delivered != 1 && clock_now() < until; poll(NULL, 0, 20))
        queue_count(looks, "two", &counts, &why);
    CU_ASSERT_EQUAL(counts.delivered, 1);
    CU_ASSERT_EQUAL(queue_rig_counts(looks, "one").delivered, COUNT);
    queue_close(looks);
    event_free(&text);
    rig_end(&rig);
}

static void remember_fault(void *context, const char *fault)
{
    struct error *last = context;
    if (strstr(fault, "fsync") == NULL && last->text[0] == '\0')
        error_set(last, "%s", fault);
}

/* Where queue_url was changed while something waited. */
static void what_waits_in_the_former_database_is_found(void)
{
    struct error why = {0}, last = {0};
    size_t faults;
    struct queue *queue = open_new();
    queue_rig_append(queue, "one", "a");
    queue_rig_append(queue, "two", "b");
    queue_close(queue);
    made.source[0].queue_url = second.url;
    made.source[1].queue_url = NULL;
    queue = queue_rig_open(&made);
    CU_ASSERT_TRUE(queue_check(queue, remember_fault, &last, &faults, &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(last.text, "1 events and 0 dead letters of source one wait in the database of source "
                                             "two, where nobody forwards them"));
    queue_close(queue);
}

void suite_queue_routes(void)
{
    static CU_TestInfo tests[] = {
        {"each source is in its database", each_source_is_in_its_database},
        {"dead letters of all have different ids", dead_letters_of_all_have_different_ids},
        {"a request comes to its source", a_request_comes_to_its_source},
        {"a server that stands still stops no other source", a_server_that_stands_still_stops_no_other_source},
        {"what is away is told, and hides nothing of the others", what_is_away_is_told_and_hides_nothing_of_the_others},
        {"a server that is away from the start comes later", a_server_that_is_away_from_the_start_comes_later},
        {"forwarding goes on on the other server", forwarding_goes_on_on_the_other_server},
        {"what waits in the former database is found", what_waits_in_the_former_database_is_found},
        CU_TEST_INFO_NULL,
    };
    suite_add("queue routes", begin, end, tests);
}
