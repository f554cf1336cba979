/* The forwarder with the queue `none` before it and the stand-in data plane behind it: what becomes of events. */
#include "forward/forward.h"
#include "tests/suites.h"
#include "tests/support/appender.h"
#include "tests/support/check.h"
#include "tests/support/event.h"
#include "tests/support/made_config.h"
#include "tests/support/standin.h"
#include "tests/support/temporary.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 60000
#define BACKOFF_MS 100
#define UNDER_WAY_MS 3000 /* until then an event that came is sent, and its waiter gives up */
#define MANY 40

/* A data plane for each source, and all that leads there. */
struct rig {
    struct standin *standin[MADE_SOURCES];
    char url[MADE_SOURCES][64];
    struct made_config made;
    struct queue *queue;
    struct forwarder *forwarder;
    pthread_t thread;
    int64_t backoff_ms; /* the longest first pause after a failed request */
};

static void *forward(void *context)
{
    forwarder_run(context, FORWARD_UNTIL_STOPPED, MOMENT_NEVER);
    return NULL;
}

static void rig_prepare(struct rig *rig)
{
    static const struct standin_options options = {.write_keys = {"wk_one", "wk_two"}};
    for (size_t i = 0; i < MADE_SOURCES; i++) {
        rig->standin[i] = standin_start(&options);
        CU_ASSERT_PTR_NOT_NULL_FATAL(rig->standin[i]);
        snprintf(rig->url[i], sizeof rig->url[i], "http://127.0.0.1:%d", standin_port(rig->standin[i]));
    }
    made_config_init(&rig->made, rig->url[0], rig->url[1]);
    rig->backoff_ms = BACKOFF_MS;
}

static void rig_run(struct rig *rig)
{
    struct error why;
    rig->queue = queue_open(&rig->made.config, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->queue);
    rig->forwarder = forwarder_new(&rig->made.config, rig->queue, &why);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->forwarder);
    forwarder_back_off(rig->forwarder, rig->backoff_ms);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&rig->thread, NULL, forward, rig->forwarder), 0);
}

static void rig_start(struct rig *rig)
{
    rig_prepare(rig);
    rig_run(rig);
}

static void rig_stop(struct rig *rig)
{
    forwarder_stop(rig->forwarder, clock_now() + PATIENCE_MS);
    pthread_join(rig->thread, NULL);
    forwarder_free(rig->forwarder);
    queue_close(rig->queue);
    for (size_t i = 0; i < MADE_SOURCES; i++)
        standin_stop(rig->standin[i]);
}

/* An event on its way through the rig. */
struct sent {
    struct event_text text;
    struct appender appender;
};

static void send_options(struct rig *rig, struct sent *sent, const char *source, const struct event_options *options,
                         int64_t patience_ms)
{
    *sent = (struct sent){0};
    event_make(&sent->text, options);
    appender_start(&sent->appender, rig->queue, source, sent->text.body.data, sent->text.body.length, patience_ms);
}

static void send_event(struct rig *rig, struct sent *sent, const char *id, int64_t patience_ms)
{
    send_options(rig, sent, "one", &(struct event_options){.id = id, .lead = "lead_1"}, patience_ms);
}

static enum queue_result result_of(struct sent *sent)
{
    enum queue_result result = appender_join(&sent->appender);
    event_free(&sent->text);
    return result;
}

/* Sends a body made by hand and waits for its end. */
static enum queue_result send_body(struct rig *rig, const char *body, struct error *why)
{
    return queue_append(rig->queue, "one", body, strlen(body), clock_now() + PATIENCE_MS, why);
}

static void an_event_arrives_unaltered(void)
{
    struct rig rig;
    struct sent sent;
    rig_start(&rig);
    send_event(&rig, &sent, "ev_1", PATIENCE_MS);
    CU_ASSERT_EQUAL(appender_join(&sent.appender), QUEUE_STORED);
    const struct standin_message *message = standin_find(rig.standin[0], "ev_1");
    CU_ASSERT_PTR_NOT_NULL_FATAL(message);
    CU_ASSERT_TRUE(slice_equal(slice_member(message->json, "properties"), event_properties(&sent.text)));
    CU_ASSERT_STRING_EQUAL(message->write_key, "wk_one");
    event_free(&sent.text);
    rig_stop(&rig);
}

/* Sends MANY events of ten leads at once; counts those whose result is not what expected says. */
static unsigned send_many(struct rig *rig, const char *note_of_one, size_t one, enum queue_result expected_of_one)
{
    static struct sent sent[MANY];
    unsigned wrong = 0;
    for (size_t i = 0; i < MANY; i++) {
        char id[32], lead[32];
        snprintf(id, sizeof id, "ev_%zu", i);
        snprintf(lead, sizeof lead, "lead_%zu", i % 10);
        struct event_options options = {.id = id, .lead = lead, .note = i == one ? note_of_one : NULL};
        send_options(rig, &sent[i], "one", &options, PATIENCE_MS);
    }
    for (size_t i = 0; i < MANY; i++)
        wrong += result_of(&sent[i]) != (i == one ? expected_of_one : QUEUE_STORED);
    return wrong;
}

static void many_at_once_arrive_each_once(void)
{
    struct rig rig;
    rig_start(&rig);
    CU_ASSERT_EQUAL(send_many(&rig, NULL, MANY, QUEUE_STORED), 0);
    struct standin_counts counts = standin_counts(rig.standin[0]);
    CU_ASSERT_EQUAL(counts.messages, MANY);
    CU_ASSERT_EQUAL(counts.repeated, 0);
    rig_stop(&rig);
}

static void one_refused_among_many_is_found(void)
{
    struct rig rig;
    rig_start(&rig);
    standin_fail(
        rig.standin[0],
        &(struct standin_fault){
            .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .marker = "POISON", .status = 400, .body = "invalid json"});
    CU_ASSERT_EQUAL(send_many(&rig, "POISON", 17, QUEUE_UNUSABLE), 0);
    CU_ASSERT_EQUAL(standin_counts(rig.standin[0]).messages, MANY - 1);
    CU_ASSERT_EQUAL(standin_counts(rig.standin[0]).repeated, 0);
    rig_stop(&rig);
}

static void refused_alone_is_unusable_in_the_data_planes_words(void)
{
    struct rig rig;
    struct sent sent;
    rig_start(&rig);
    standin_fail(rig.standin[0], &(struct standin_fault){
                                     .act = STANDIN_ANSWER, .times = 1, .status = 413, .body = "request size exceeds"});
    send_event(&rig, &sent, "ev_1", PATIENCE_MS);
    CU_ASSERT_EQUAL(result_of(&sent), QUEUE_UNUSABLE);
    CU_ASSERT_STRING_EQUAL(sent.appender.why.text, "the data plane answered 413 \"request size exceeds\"");
    rig_stop(&rig);
}

static void passing_faults_are_tried_again(void)
{
    static const struct standin_fault faults[] = {
        {.act = STANDIN_ANSWER, .times = 1, .status = 500, .body = "database away"},
        {.act = STANDIN_ANSWER, .times = 1, .status = 408},
        {.act = STANDIN_ANSWER, .times = 1, .status = 503},
        {.act = STANDIN_CUT, .times = 1},
        {.act = STANDIN_STORE_CUT, .times = 1},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct rig rig;
        struct sent sent;
        rig_start(&rig);
        standin_fail(rig.standin[0], &faults[i]);
        send_event(&rig, &sent, "ev_1", PATIENCE_MS);
        CU_ASSERT_EQUAL(result_of(&sent), QUEUE_STORED);
        const struct standin_message *message = standin_find(rig.standin[0], "ev_1");
        CU_ASSERT_PTR_NOT_NULL_FATAL(message);
        CU_ASSERT_EQUAL(message->times, faults[i].act == STANDIN_STORE_CUT ? 2 : 1);
        rig_stop(&rig);
    }
}

static void retry_after_is_waited_for(void)
{
    struct rig rig;
    struct sent sent;
    rig_start(&rig);
    standin_fail(rig.standin[0],
                 &(struct standin_fault){.act = STANDIN_ANSWER, .times = 1, .status = 429, .retry_after = "1"});
    moment start = clock_now();
    send_event(&rig, &sent, "ev_1", PATIENCE_MS);
    CU_ASSERT_EQUAL(result_of(&sent), QUEUE_STORED);
    CU_ASSERT_TRUE(standin_find(rig.standin[0], "ev_1")->arrived - start >= 1000);
    rig_stop(&rig);
}

static void a_wrong_key_is_told_at_once_and_rests(void)
{
    struct rig rig;
    struct sent first, second;
    rig_prepare(&rig);
    rig.made.write_keys[0] = (char[]){"wk_wrong"};
    rig.backoff_ms = PATIENCE_MS / 10; /* five times that is half of the patience: nobody waits for the next try */
    rig_run(&rig);
    send_event(&rig, &first, "ev_1", PATIENCE_MS);
    CU_ASSERT_EQUAL(result_of(&first), QUEUE_UNKNOWN);
    CU_ASSERT_STRING_EQUAL(first.appender.why.text, "the data plane answered 401 \"invalid write key\"");
    send_event(&rig, &second, "ev_2", PATIENCE_MS);
    CU_ASSERT_EQUAL(result_of(&second), QUEUE_UNKNOWN);
    CU_ASSERT_STRING_EQUAL(second.appender.why.text, first.appender.why.text);
    CU_ASSERT_TRUE(second.appender.took_ms < PATIENCE_MS / 2);
    CU_ASSERT_EQUAL(standin_counts(rig.standin[0]).requests, 1);
    rig_stop(&rig);
}

/* Nothing waits that could be tried later, so each event is: whoever mends the data plane need do nothing more. */
static void a_mended_data_plane_is_tried_soon(void)
{
    struct rig rig;
    struct sent sent;
    char id[32] = "ev_1";
    rig_start(&rig);
    standin_fail(rig.standin[0], &(struct standin_fault){.act = STANDIN_ANSWER, .times = 1, .status = 200, .body = ""});
    send_event(&rig, &sent, id, PATIENCE_MS);
    CU_ASSERT_EQUAL(result_of(&sent), QUEUE_UNKNOWN);
    moment start = clock_now();
    size_t refused = 0;
    for (bool stored = false; !stored && clock_now() - start < PATIENCE_MS; refused += !stored) {
        snprintf(id, sizeof id, "ev_%zu", refused + 2);
        send_event(&rig, &sent, id, PATIENCE_MS);
        stored = result_of(&sent) == QUEUE_STORED;
        if (!stored)
            CU_ASSERT_STRING_EQUAL(sent.appender.why.text, "the data plane answered 200 \"\"");
        poll(NULL, 0, 10);
    }
    check(standin_find(rig.standin[0], id) != NULL, "the data plane is tried again, after %zu events", refused);
    CU_ASSERT_EQUAL(standin_counts(rig.standin[0]).requests, 2);
    rig_stop(&rig);
}

static void a_web_page_is_no_delivery(void)
{
    struct rig rig;
    struct sent sent;
    rig_start(&rig);
    standin_fail(rig.standin[0],
                 &(struct standin_fault){.act = STANDIN_ANSWER, .times = 1, .status = 200, .body = "<html>Welcome"});
    send_event(&rig, &sent, "ev_1", PATIENCE_MS);
    CU_ASSERT_EQUAL(result_of(&sent), QUEUE_UNKNOWN);
    CU_ASSERT_EQUAL(standin_counts(rig.standin[0]).messages, 0);
    rig_stop(&rig);
}

/* Close was told 503, but the batch was on the wire: what Close then sends again must not arrive twice. */
static void delivered_after_the_wait_is_a_duplicate_then(void)
{
    struct rig rig;
    struct sent sent, again;
    rig_start(&rig);
    standin_fail(rig.standin[0], &(struct standin_fault){.act = STANDIN_HOLD, .times = 1});
    send_event(&rig, &sent, "ev_1", UNDER_WAY_MS);
    CU_ASSERT_TRUE(standin_wait_held(rig.standin[0], 1, PATIENCE_MS));
    CU_ASSERT_EQUAL(result_of(&sent), QUEUE_UNKNOWN);
    standin_heal(rig.standin[0]);
    CU_ASSERT_TRUE(standin_wait_messages(rig.standin[0], 1, PATIENCE_MS));
    send_event(&rig, &again, "ev_1", PATIENCE_MS);
    CU_ASSERT_EQUAL(result_of(&again), QUEUE_STORED);
    CU_ASSERT_EQUAL(standin_counts(rig.standin[0]).messages, 1);
    rig_stop(&rig);
}

#define VERSION_OF_EVENT(date, subscription)                                                                           \
    "{\"event\":{\"id\":\"ev_1\",\"object_type\":\"lead\",\"action\":\"updated\",\"lead_id\":\"lead_1\","              \
    "\"date_updated\":\"" date "\"},\"subscription_id\":\"" subscription "\"}"

static void versions_are_told_apart(void)
{
    struct rig rig;
    struct error why;
    rig_start(&rig);
    CU_ASSERT_EQUAL(send_body(&rig, VERSION_OF_EVENT("2024-01-01T00:00:01.000001", "a"), &why), QUEUE_STORED);
    CU_ASSERT_EQUAL(send_body(&rig, VERSION_OF_EVENT("2024-01-01T00:00:01.000001", "b"), &why), QUEUE_STORED);
    CU_ASSERT_EQUAL(send_body(&rig, VERSION_OF_EVENT("2024-01-01T00:00:00.9", "a"), &why), QUEUE_STORED);
    CU_ASSERT_EQUAL(standin_counts(rig.standin[0]).messages, 1);
    CU_ASSERT_EQUAL(send_body(&rig, VERSION_OF_EVENT("2024-01-01T00:00:01.000002", "a"), &why), QUEUE_STORED);
    CU_ASSERT_EQUAL(send_body(&rig, VERSION_OF_EVENT("2024-01-01T00:00:01.000002", "b"), &why), QUEUE_STORED);
    CU_ASSERT_EQUAL(standin_counts(rig.standin[0]).messages, 2);
    CU_ASSERT_EQUAL(standin_counts(rig.standin[0]).repeated, 0);
    rig_stop(&rig);
}

/* The same event over two subscriptions at the same moment: the second waits for the first one's end. */
static void a_twin_ends_as_the_first_does(void)
{
    struct rig rig;
    struct appender first, twin;
    static const char a[] = VERSION_OF_EVENT("2024-01-01T00:00:01", "a");
    static const char b[] = VERSION_OF_EVENT("2024-01-01T00:00:01", "b");
    rig_start(&rig);
    standin_fail(rig.standin[0], &(struct standin_fault){.act = STANDIN_HOLD, .times = 1});
    appender_start(&first, rig.queue, "one", a, sizeof a - 1, PATIENCE_MS);
    CU_ASSERT_TRUE(standin_wait_held(rig.standin[0], 1, PATIENCE_MS));
    appender_start(&twin, rig.queue, "one", b, sizeof b - 1, 300);
    CU_ASSERT_EQUAL(appender_join(&twin), QUEUE_UNKNOWN);
    appender_start(&twin, rig.queue, "one", b, sizeof b - 1, PATIENCE_MS);
    standin_heal(rig.standin[0]);
    CU_ASSERT_EQUAL(appender_join(&first), QUEUE_STORED);
    CU_ASSERT_EQUAL(appender_join(&twin), QUEUE_STORED);
    CU_ASSERT_EQUAL(standin_counts(rig.standin[0]).messages, 1);
    rig_stop(&rig);
}

/* The first one's waiter gives up while its lane waits to try again: the twin takes its place. */
static void a_twin_takes_the_place_of_a_withdrawn_one(void)
{
    struct rig rig;
    struct appender first, twin;
    static const char a[] = VERSION_OF_EVENT("2024-01-01T00:00:01", "a");
    static const char b[] = VERSION_OF_EVENT("2024-01-01T00:00:01", "b");
    rig_start(&rig);
    standin_fail(rig.standin[0],
                 &(struct standin_fault){.act = STANDIN_ANSWER, .times = 1, .status = 503, .retry_after = "4"});
    appender_start(&first, rig.queue, "one", a, sizeof a - 1, UNDER_WAY_MS);
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin[0], 1, PATIENCE_MS));
    appender_start(&twin, rig.queue, "one", b, sizeof b - 1, PATIENCE_MS);
    CU_ASSERT_EQUAL(appender_join(&first), QUEUE_UNKNOWN);
    CU_ASSERT_EQUAL(appender_join(&twin), QUEUE_STORED);
    CU_ASSERT_EQUAL(standin_counts(rig.standin[0]).messages, 1);
    rig_stop(&rig);
}

static void dropped_is_stored_and_not_sent(void)
{
    struct rig rig;
    struct error why;
    rig_prepare(&rig);
    rig.made.source[0].drop = (struct strings){(char *[]){(char[]){"lead.*"}}, 1};
    rig_run(&rig);
    CU_ASSERT_EQUAL(send_body(&rig, VERSION_OF_EVENT("2024-01-01T00:00:01", "a"), &why), QUEUE_STORED);
    CU_ASSERT_EQUAL(standin_counts(rig.standin[0]).requests, 0);
    rig_stop(&rig);
}

static void an_unusable_body_is_told(void)
{
    struct rig rig;
    struct error why = {0};
    rig_start(&rig);
    CU_ASSERT_EQUAL(send_body(&rig, "{\"event\":", &why), QUEUE_UNUSABLE);
    CU_ASSERT_STRING_NOT_EQUAL(why.text, "");
    CU_ASSERT_EQUAL(standin_counts(rig.standin[0]).requests, 0);
    rig_stop(&rig);
}

static void one_source_does_not_block_another(void)
{
    struct rig rig;
    struct sent blocked, free_one;
    rig_start(&rig);
    standin_fail(rig.standin[0], &(struct standin_fault){.act = STANDIN_HOLD, .times = STANDIN_ALWAYS});
    send_event(&rig, &blocked, "ev_1", PATIENCE_MS);
    CU_ASSERT_TRUE(standin_wait_held(rig.standin[0], 1, PATIENCE_MS));
    send_options(&rig, &free_one, "two", &(struct event_options){.id = "ev_1", .lead = "lead_1"}, PATIENCE_MS);
    CU_ASSERT_EQUAL(result_of(&free_one), QUEUE_STORED);
    CU_ASSERT_EQUAL(standin_counts(rig.standin[1]).messages, 1);
    CU_ASSERT_EQUAL(standin_counts(rig.standin[0]).messages, 0);
    standin_heal(rig.standin[0]);
    CU_ASSERT_EQUAL(result_of(&blocked), QUEUE_STORED);
    rig_stop(&rig);
}

static void a_file_takes_messages_line_by_line(void)
{
    struct rig rig;
    char directory[PATH_SIZE], url[PATH_SIZE + 32];
    CU_ASSERT_TRUE_FATAL(temporary_make(directory));
    snprintf(url, sizeof url, "file://%s/events.ndjson", directory);
    rig_prepare(&rig);
    rig.made.source[0].data_plane_url = url;
    rig_run(&rig);
    CU_ASSERT_EQUAL(send_many(&rig, NULL, MANY, QUEUE_STORED), 0);
    rig_stop(&rig);
    char *text = temporary_read(directory, "events.ndjson");
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    size_t lines = 0;
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        lines++;
        CU_ASSERT_TRUE(*line == '{' && end[-1] == '}');
    }
    CU_ASSERT_EQUAL(lines, MANY);
    free(text);
    temporary_remove(directory);
}

static void stopping_waits_for_the_batch_in_hand(void)
{
    struct rig rig;
    struct sent sent;
    rig_start(&rig);
    standin_fail(rig.standin[0], &(struct standin_fault){.act = STANDIN_SLOW, .times = 1, .delay_ms = 500});
    send_event(&rig, &sent, "ev_1", PATIENCE_MS);
    CU_ASSERT_TRUE(standin_wait_requests(rig.standin[0], 1, PATIENCE_MS));
    forwarder_stop(rig.forwarder, clock_now() + PATIENCE_MS);
    CU_ASSERT_EQUAL(result_of(&sent), QUEUE_STORED);
    rig_stop(&rig);
}

static void a_good_key_is_told_from_a_wrong_one(void)
{
    struct rig rig;
    struct error why;
    rig_prepare(&rig);
    CU_ASSERT_TRUE(forward_try(&rig.made.config, &rig.made.source[0], &why));
    CU_ASSERT_STRING_EQUAL(why.text, "the data plane takes the write key");
    /* What counts as a delivery is good for an empty batch too. */
    standin_fail(rig.standin[0],
                 &(struct standin_fault){.act = STANDIN_ANSWER, .times = 1, .status = 200, .body = "\"OK\"\n"});
    CU_ASSERT_TRUE(forward_try(&rig.made.config, &rig.made.source[0], &why));
    for (int accepts = 0; accepts < 2; accepts++) {
        rig.made.source[0].accept_empty = accepts ? ANSWER_YES : ANSWER_NO;
        standin_fail(rig.standin[0], &(struct standin_fault){.act = STANDIN_ANSWER, .times = 1, .status = 200});
        CU_ASSERT_EQUAL(forward_try(&rig.made.config, &rig.made.source[0], &why), accepts == 1);
    }
    rig.made.write_keys[0] = (char[]){"wk_wrong"};
    CU_ASSERT_FALSE(forward_try(&rig.made.config, &rig.made.source[0], &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "401 \"invalid write key\": check write_key"));
    for (size_t i = 0; i < MADE_SOURCES; i++)
        standin_stop(rig.standin[i]);
    CU_ASSERT_FALSE(forward_try(&rig.made.config, &rig.made.source[0], &why));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "no answer from the data plane"));
}

void suite_forwarder(void)
{
    static CU_TestInfo tests[] = {
        {"an event arrives unaltered", an_event_arrives_unaltered},
        {"many at once arrive each once", many_at_once_arrive_each_once},
        {"one refused among many is found, the others arrive", one_refused_among_many_is_found},
        {"one refused alone is unusable, in the data plane's words",
         refused_alone_is_unusable_in_the_data_planes_words},
        {"what passes is tried again, with the same messageId", passing_faults_are_tried_again},
        {"Retry-After is waited for", retry_after_is_waited_for},
        {"a wrong key is told at once, and the data plane left alone", a_wrong_key_is_told_at_once_and_rests},
        {"a mended data plane is tried again soon", a_mended_data_plane_is_tried_soon},
        {"a web page that answers 200 is no delivery", a_web_page_is_no_delivery},
        {"what was delivered after the wait is a duplicate then", delivered_after_the_wait_is_a_duplicate_then},
        {"a newer version is sent, the same or an older one not", versions_are_told_apart},
        {"a twin ends as the first one does", a_twin_ends_as_the_first_does},
        {"a twin takes the place of a withdrawn one", a_twin_takes_the_place_of_a_withdrawn_one},
        {"a dropped event is stored and not sent", dropped_is_stored_and_not_sent},
        {"an unusable body is told", an_unusable_body_is_told},
        {"one source does not block another", one_source_does_not_block_another},
        {"a file takes messages line by line", a_file_takes_messages_line_by_line},
        {"stopping waits for the batch in hand", stopping_waits_for_the_batch_in_hand},
        {"a good key is told from a wrong one", a_good_key_is_told_from_a_wrong_one},
        CU_TEST_INFO_NULL,
    };
    suite_add("forwarder", NULL, NULL, tests);
}
