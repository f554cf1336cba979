/* What the page shows of waiting events and dead letters, what can be looked for, what its buttons do. Against a real
 * queue with a waiting event and two dead letters in it. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "queue/inspect.h"
#include "status/status_private.h"
#include "tests/suites.h"
#include "tests/support/status_rig.h"

static struct status_rig rig;

static int prepare(void)
{
    return status_rig_open(&rig);
}

static int tidy(void)
{
    return status_rig_close(&rig);
}

static int get(const char *query)
{
    return status_rig_ask(&rig, "GET", "/status", query, STATUS_RIGHT, NULL);
}

static bool shows(const char *text)
{
    return status_rig_shows(&rig, text);
}

/* Posts a form, with the page's token before it. */
static int act(const char *fields)
{
    static char form[512]; /* the last request keeps it */
    CU_ASSERT_EQUAL(get(""), 200);
    const char *token = strstr(rig.fake.text, "data-token=\"");
    CU_ASSERT_PTR_NOT_NULL_FATAL(token);
    snprintf(form, sizeof form, "token=%.64s&format=json&%s", token + 12, fields);
    return status_rig_ask(&rig, "POST", "/status", "", STATUS_RIGHT, form);
}

static size_t count_rows(const char *start)
{
    size_t count = 0;
    for (const char *at = rig.fake.text; (at = strstr(at, start)) != NULL; at++)
        count++;
    return count;
}

static void test_what_is_wrong_stands_at_the_top(void)
{
    CU_ASSERT_EQUAL(get(""), 200);
    CU_ASSERT_TRUE(shows("role=\"status\">It works; 1 thing to look at</p>"));
    CU_ASSERT_TRUE(shows("<title>It works; 1 thing to look at - closecrm.fcgi</title>"));
    CU_ASSERT_TRUE(shows("<strong>one:</strong> 2 dead letters are kept."));
    CU_ASSERT_TRUE(shows("2 dead letters of one will be sent again"));
    CU_ASSERT_TRUE(shows("fill=&#39;%23c77d00&#39;"));
    CU_ASSERT_FALSE(shows("Three steps"));
    CU_ASSERT_EQUAL(get("part=1"), 200);
    CU_ASSERT_EQUAL(strncmp(fake_body(&rig.fake), "<main id=\"page\"", 15), 0);
    CU_ASSERT_FALSE(shows("<script>"));
}

static void test_before_the_first_event(void)
{
    struct status *good = rig.status;
    rig.made.config.queue = QUEUE_NONE;
    rig.made.config.state_dir = NULL; /* what is in its queue.db would be told */
    rig.status = status_new(&rig.made.config);
    CU_ASSERT_EQUAL(get(""), 200);
    CU_ASSERT_TRUE(shows("role=\"status\">Waiting for the first event</p>"));
    CU_ASSERT_TRUE(shows("<li class=\"step done\">"));
    CU_ASSERT_TRUE(shows("<li class=\"step next\">"));
    CU_ASSERT_TRUE(shows("<li class=\"step later\">"));
    CU_ASSERT_TRUE(shows("closecrm.fcgi subscribe --source one --url http://example.com/closecrm/one<"));
    status_free(rig.status);
    rig.made.config.queue = QUEUE_SQLITE;
    rig.made.config.state_dir = rig.state;
    rig.status = good;
}

static void test_a_waiting_event_is_opened(void)
{
    CU_ASSERT_EQUAL(get(""), 200);
    CU_ASSERT_TRUE(shows("<a href=\"?waiting=3&amp;of=one\" data-open>"));
    CU_ASSERT_EQUAL(get("waiting=3&of=one"), 200);
    CU_ASSERT_TRUE(shows("It was not sent yet."));
    CU_ASSERT_TRUE(shows("<dt>Event id</dt>"));
    CU_ASSERT_FALSE(shows("555-private"));
    CU_ASSERT_FALSE(shows("<script>alert"));
    const uint64_t ids[] = {3, 4};
    struct attempt attempt;
    memset(&attempt, 0, sizeof attempt);
    attempt.sent_ms = clock_unix_ms();
    attempt.took_ms = 1234;
    attempt.events = 2;
    snprintf(attempt.words, sizeof attempt.words, "no answer from the data plane: <b>");
    attempts_add(rig.telemetry.attempts, "one", 0, &attempt, ids, 2);
    CU_ASSERT_EQUAL(get("waiting=3&of=one&part=1"), 200);
    CU_ASSERT_EQUAL(strncmp(fake_body(&rig.fake), "<div class=\"detail\">", 20), 0);
    CU_ASSERT_TRUE(shows("<td>no answer</td><td>no answer from the data plane: &lt;b&gt;</td>"));
    CU_ASSERT_TRUE(shows("1234&nbsp;ms"));
    CU_ASSERT_EQUAL(get("waiting=3&of=two"), 404);
    CU_ASSERT_EQUAL(get("waiting=77&of=one"), 404);
    CU_ASSERT_EQUAL(get("waiting=3&of=%3Cscript%3E"), 404);
}

/* It ended between the look at what waits and the look at the sample: it is shown once, as what it has become. */
static void test_shown_once(void)
{
    static struct recent_event event;
    struct events waiting = {0};
    CU_ASSERT_EQUAL_FATAL(queue_list(rig.queue, "one", 2, 1, 100000, &waiting, NULL), 1);
    snprintf(event.source, sizeof event.source, "one");
    snprintf(event.name, sizeof event.name, "lead updated");
    snprintf(event.state, sizeof event.state, "delivered");
    event.queue_id = waiting.at[0].id;
    event.received_ms = waiting.at[0].received_ms;
    event.ended_ms = clock_unix_ms();
    events_free(&waiting);
    recent_add(rig.telemetry.recent, &event, &(struct recent_bodies){0});
    CU_ASSERT_EQUAL(get(""), 200);
    CU_ASSERT_EQUAL(count_rows("<tr data-key=\"one-3-"), 1);
    CU_ASSERT_EQUAL(count_rows("<a href=\"?event=1\""), 1);
    /* By the address that it had while it waited it is found as long as it is one of both. */
    CU_ASSERT_EQUAL(get("waiting=3&of=one"), 200);
    recent_forget(rig.telemetry.recent, NULL, "", false);
    CU_ASSERT_EQUAL(get(""), 200);
    CU_ASSERT_EQUAL(count_rows("<a href=\"?waiting=3"), 1);
}

static void test_dead_letters_say_who_they_are(void)
{
    CU_ASSERT_EQUAL(get(""), 200);
    const char *row = strstr(rig.fake.text, "data-letter=\"1\"");
    CU_ASSERT_PTR_NOT_NULL_FATAL(row);
    const char *end = strstr(row, "</tr>");
    for (const char *const *wanted = (const char *const[]){">lead &lt;script&gt;", ">ev_2<", ">one<", NULL};
         *wanted != NULL; wanted++) {
        const char *at = strstr(row, *wanted);
        CU_ASSERT_TRUE(at != NULL && at < end);
    }
}

static void test_looked_for(void)
{
    static const struct {
        const char *query;
        size_t found;
    } rows[] = {
        {"", 1},
        {"state=waiting", 1},
        {"state=delivered", 0},
        {"lead=%3Cscript%3Ealert('x')%3C/script%3E", 1},
        {"lead=lead_", 0},
        {"type=lead.updated", 1},
        {"type=Lead", 1},
        {"type=call", 0},
        {"text=EV_1", 1},
        {"text=nobody", 0},
        {"text=555-private", 0},
        {"source=two", 0},
        {"source=one", 1},
        {"text=%22%3E%3Cscript%3Ealert", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CU_ASSERT_EQUAL(get(rows[i].query), 200);
        CU_ASSERT_EQUAL(count_rows("<a href=\"?waiting="), rows[i].found);
        CU_ASSERT_FALSE(shows("<script>alert"));
    }
    CU_ASSERT_TRUE(shows("value=\"&quot;&gt;&lt;script&gt;alert\""));
}

/* None of them does anything without a token. */
static void test_buttons_need_a_token(void)
{
    static const char *const forms[] = {"action=replay_all&source=one&count=2", "action=try&source=one",
                                        "action=test&source=one", "action=resume&source=one"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        CU_ASSERT_EQUAL(status_rig_ask(&rig, "POST", "/status", "", STATUS_RIGHT, forms[i]), 403);
        CU_ASSERT_EQUAL(status_rig_ask(&rig, "POST", "/status", "", NULL, forms[i]), 401);
        CU_ASSERT_EQUAL(status_rig_ask(&rig, "GET", "/status", forms[i], STATUS_RIGHT, NULL), 200);
    }
    char path[PATH_SIZE];
    path_join(path, rig.state, "mended");
    CU_ASSERT_EQUAL(access(path, F_OK), -1);
}

static void test_each_says_what_happened(void)
{
    char path[PATH_SIZE];
    CU_ASSERT_EQUAL(act("action=try&source=one"), 200);
    CU_ASSERT_TRUE(shows("{\"good\": false, \"words\": \"No answer from the data plane: "));
    CU_ASSERT_TRUE(shows("What waits is tried once all the same."));
    path_join(path, rig.state, "mended");
    CU_ASSERT_EQUAL(access(path, F_OK), 0);
    CU_ASSERT_EQUAL(act("action=resume&source=one"), 200);
    CU_ASSERT_TRUE(shows("It could not be activated: this needs close_api_key in the configuration"));
    CU_ASSERT_EQUAL(act("action=try&source=nobody"), 404);
    CU_ASSERT_EQUAL(act("action=replay_all&source=one"), 400);
    CU_ASSERT_EQUAL(act("action=nothing"), 400);
}

static size_t on_their_way(void)
{
    struct letters letters = {0};
    size_t count = 0;
    CU_ASSERT_EQUAL(queue_letters(rig.queue, NULL, 0, 10, 100000, &letters, NULL), 2);
    for (size_t i = 0; i < letters.count; i++)
        count += letters.at[i].replayed ? 1 : 0;
    letters_free(&letters);
    return count;
}

/* As many as were counted, the oldest first. Last: it changes the queue. */
static void test_replay_all(void)
{
    CU_ASSERT_EQUAL(act("action=replay_all&source=two&count=2"), 200);
    CU_ASSERT_TRUE(shows("\"words\": \"0 dead letters of two are on their way again."));
    CU_ASSERT_EQUAL(on_their_way(), 0);
    CU_ASSERT_EQUAL(act("action=replay_all&source=one&count=1"), 200);
    CU_ASSERT_TRUE(shows("{\"good\": true, \"words\": \"1 dead letter of one is on its way again.\"}"));
    CU_ASSERT_EQUAL(on_their_way(), 1);
    CU_ASSERT_EQUAL(act("action=replay_all&source=one&count=5"), 200);
    CU_ASSERT_TRUE(shows("\"1 dead letter of one is on its way again. The others were on their way already, or gone"));
    CU_ASSERT_EQUAL(on_their_way(), 2);
}

void suite_status_page(void)
{
    static CU_TestInfo tests[] = {
        {"what is wrong stands at the top", test_what_is_wrong_stands_at_the_top},
        {"before the first event", test_before_the_first_event},
        {"a waiting event is opened", test_a_waiting_event_is_opened},
        {"shown once", test_shown_once},
        {"dead letters say who they are", test_dead_letters_say_who_they_are},
        {"looked for", test_looked_for},
        {"buttons need a token", test_buttons_need_a_token},
        {"each says what happened", test_each_says_what_happened},
        {"replay all", test_replay_all},
        CU_TEST_INFO_NULL,
    };
    suite_add("status page", prepare, tidy, tests);
}
