/* The status page: who may see it, what it shows, what it must never show, what can be done on it. Against a real queue
 * with a waiting event and dead letters in it. */
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/inspect.h"
#include "status/access.h"
#include "status/prober.h"
#include "status/status.h"
#include "tests/suites.h"
#include "tests/system/temporary.h"
#include "tests/unit/made_config.h"
#include "tests/unit/test_http_fake.h"
#include "watch/log.h"
#include "webhook/refusals.h"

/* "admin:correct horse", "admin:wrong", "root:correct horse" */
#define RIGHT "Basic YWRtaW46Y29ycmVjdCBob3JzZQ=="
#define WRONG_PASSWORD "Basic YWRtaW46d3Jvbmc="
#define WRONG_USER "Basic cm9vdDpjb3JyZWN0IGhvcnNl"

#define EVIL "<script>alert('x')</script>"

static const char waiting_body[] =
    "{\"event\":{\"object_type\":\"lead\",\"action\":\"updated\",\"id\":\"ev_1\",\"lead_id\":"
    "\"" EVIL "\",\"data\":{\"id\":\"x\"}}}";
static const char dead_body[] = "{\"event\":{\"object_type\":\"lead\",\"action\":\"" EVIL "\",\"id\":\"ev_2\","
                                "\"data\":{\"note\":\"" EVIL "\",\"phone\":\"555-private\"},"
                                "\"previous_data\":{\"phone\":\"556-private\"}}}";

static struct made_config made;
static char directory[PATH_SIZE], state[PATH_SIZE], password[] = "correct horse", remove_path[] = "data.phone";
static char *removed[] = {remove_path};
static struct queue *queue;
static struct status *status;
static struct watchers watchers;
static struct fake_request fake;
static const char *auth_type; /* AUTH_TYPE of the requests */

static bool append(const char *body)
{
    struct why why;
    return queue_append(queue, "one", body, strlen(body), clock_now() + 20000, &why) == QUEUE_STORED;
}

static bool kill_event(uint64_t id)
{
    struct why why;
    struct verdict verdict = {.id = id, .kind = VERDICT_DEAD, .reason = "the data plane answered 400 \"" EVIL "\""};
    return queue_settle(queue, "one", &verdict, 1, &why);
}

static int prepare(void)
{
    static char url[] = "http://127.0.0.1:9";
    static const char *const names[] = {"one", "two"};
    struct why why = {""};
    log_open(LEVEL_ERROR);
    made_config_init(&made, url, url);
    if (!temporary_make(directory))
        return 1;
    path_join(state, directory, "state");
    made.config.queue = QUEUE_SQLITE;
    made.config.queue_max_bytes = (int64_t)1 << 40;
    made.config.state_dir = state;
    made.config.admin_password = password;
    made.config.alert_waiting_ms = 600000;
    made.source[0].remove = (struct strings){removed, 1};
    made.source[0].line = made.source[1].line = 3; /* sections: their names stand in their addresses */
    queue = queue_open(&made.config, &why);
    if (queue == NULL || !queue_own(queue, &why)) {
        fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    if (!append(dead_body) || !append(dead_body) || !append(waiting_body) || !kill_event(1) || !kill_event(2))
        return 1;
    watchers = (struct watchers){counters_open(state, names, 2, &why), recent_open(state)};
    counters_refused(counters_of(watchers.counters, "one"), REFUSED_SIGNATURE, clock_unix_ms());
    status = status_new(&made.config);
    status_stand(status, &watchers);
    return 0;
}

static int tidy(void)
{
    if (fake.request.bodies != NULL)
        fake_end(&fake);
    status_free(status);
    counters_close(watchers.counters);
    recent_close(watchers.recent);
    queue_close(queue);
    temporary_remove(directory);
    log_open(LEVEL_INFO);
    return 0;
}

/* One request. Returns its answer's status. */
static int ask(const char *method, const char *path, const char *query, const char *authorization, const char *form)
{
    static struct fake_variable variables[8];
    size_t n = 0;
    variables[n++] = (struct fake_variable){"REQUEST_METHOD", method};
    variables[n++] = (struct fake_variable){"PATH_INFO", path};
    variables[n++] = (struct fake_variable){"SCRIPT_NAME", "/closecrm"};
    variables[n++] = (struct fake_variable){"HTTP_HOST", "example.com"};
    variables[n++] = (struct fake_variable){"QUERY_STRING", query};
    if (auth_type != NULL)
        variables[n++] = (struct fake_variable){"AUTH_TYPE", auth_type};
    if (authorization != NULL)
        variables[n++] = (struct fake_variable){
            strncmp(authorization, "Basic", 5) == 0 ? "HTTP_AUTHORIZATION" : "REMOTE_USER", authorization};
    variables[n] = (struct fake_variable){NULL, NULL};
    if (fake.request.bodies != NULL)
        fake_end(&fake);
    fake_init(&fake, variables, form == NULL ? "" : form, form == NULL ? 0 : strlen(form));
    status_handle(status, &fake.request);
    return fake_status(&fake);
}

static bool shows(const char *text)
{
    return strstr(fake.text, text) != NULL;
}

/* Looks at the page and takes the token of its forms. */
static const char *token_of_page(void)
{
    static char token[TOKEN_SIZE];
    CU_ASSERT_EQUAL(ask("GET", "/status", "", RIGHT, NULL), 200);
    const char *at = strstr(fake.text, "data-token=\"");
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    snprintf(token, sizeof token, "%.64s", at + 12);
    return token;
}

static void test_without_a_password_there_is_no_page(void)
{
    made.config.admin_password = NULL;
    CU_ASSERT_EQUAL(ask("GET", "/status", "", NULL, NULL), 404);
    CU_ASSERT_EQUAL(ask("GET", "/status", "", RIGHT, NULL), 404);
    CU_ASSERT_EQUAL(ask("GET", "/metrics", "", RIGHT, NULL), 404);
    CU_ASSERT_EQUAL(ask("GET", "/status", "", "somebody", NULL), 404);
    CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 200);
    made.config.admin_password = password;
}

static void test_the_password(void)
{
    CU_ASSERT_EQUAL(ask("GET", "/status", "", NULL, NULL), 401);
    CU_ASSERT_TRUE(shows("\r\nWWW-Authenticate: Basic realm=\"closecrm status\", charset=\"UTF-8\"\r\n"));
    CU_ASSERT_FALSE(shows("one"));
    CU_ASSERT_EQUAL(ask("GET", "/status", "", WRONG_PASSWORD, NULL), 401);
    CU_ASSERT_EQUAL(ask("GET", "/status", "", WRONG_USER, NULL), 401);
    CU_ASSERT_EQUAL(ask("GET", "/status", "", "somebody", NULL), 401);
    CU_ASSERT_EQUAL(ask("POST", "/status", "", NULL, "action=key&source=one"), 401);
    CU_ASSERT_EQUAL(ask("GET", "/metrics", "", WRONG_PASSWORD, NULL), 401);
    CU_ASSERT_EQUAL(ask("GET", "/status", "", RIGHT, NULL), 200);
    CU_ASSERT_EQUAL(ask("GET", "/metrics", "", RIGHT, NULL), 200);
}

static void test_left_to_the_web_server(void)
{
    made.config.admin = ADMIN_SERVER;
    CU_ASSERT_EQUAL(ask("GET", "/status", "", NULL, NULL), 403);
    CU_ASSERT_EQUAL(ask("GET", "/status", "", RIGHT, NULL), 403);
    CU_ASSERT_EQUAL(ask("GET", "/status", "", "somebody", NULL), 403); /* as nginx's $remote_user: nobody checked it */
    CU_ASSERT_TRUE(shows("admin-server.conf"));
    auth_type = "Basic";
    CU_ASSERT_EQUAL(ask("GET", "/status", "", "somebody", NULL), 200);
    CU_ASSERT_EQUAL(ask("GET", "/metrics", "", "somebody", NULL), 200);
    CU_ASSERT_EQUAL(ask("GET", "/status", "", NULL, NULL), 403);
    auth_type = NULL;
    made.config.admin = ADMIN_PASSWORD;
}

static bool matches(const char *pattern)
{
    regex_t regex;
    CU_ASSERT_EQUAL_FATAL(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB | REG_ICASE), 0);
    bool found = regexec(&regex, fake_body(&fake), 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

static void test_only_its_own_style_and_script(void)
{
    ask("GET", "/status", "", RIGHT, NULL);
    CU_ASSERT_TRUE(shows("\r\nContent-Security-Policy: default-src 'none'; style-src 'sha256-"));
    CU_ASSERT_TRUE(shows("; script-src 'sha256-"));
    CU_ASSERT_TRUE(shows("; base-uri 'none'; frame-ancestors 'none'\r\n"));
    CU_ASSERT_FALSE(shows("unsafe"));
    CU_ASSERT_TRUE(shows("\r\nCache-Control: no-store\r\n"));
    CU_ASSERT_TRUE(shows("\r\nX-Content-Type-Options: nosniff\r\n"));
    CU_ASSERT_FALSE(matches("<[^>]* on[a-z]+ *="));
    CU_ASSERT_FALSE(matches("<[^>]* style *="));
    CU_ASSERT_FALSE(matches("<[^>]* src *="));
}

static void test_nothing_of_a_payload_is_markup(void)
{
    ask("GET", "/status", "", RIGHT, NULL);
    CU_ASSERT_FALSE(shows("<script>alert"));
    CU_ASSERT_TRUE(shows("&lt;script&gt;alert"));
    ask("GET", "/status", "format=json", RIGHT, NULL);
    CU_ASSERT_FALSE(shows("<"));
    CU_ASSERT_TRUE(shows("\\u003cscript>alert"));
    CU_ASSERT_EQUAL(ask("GET", "/status", "letter=1", RIGHT, NULL), 200);
    CU_ASSERT_FALSE(shows("<script>alert"));
    CU_ASSERT_TRUE(shows("&lt;script&gt;alert"));
    ask("GET", "/status", "source=%22%3E%3Cscript%3Ealert", RIGHT, NULL);
    CU_ASSERT_FALSE(shows("<script>alert"));
}

static void test_remove_is_applied(void)
{
    CU_ASSERT_EQUAL(ask("GET", "/status", "letter=1&format=json", RIGHT, NULL), 200);
    CU_ASSERT_TRUE(shows("ev_2"));
    CU_ASSERT_FALSE(shows("555-private"));
    CU_ASSERT_FALSE(shows("556-private"));
    CU_ASSERT_EQUAL(ask("GET", "/status", "letter=77", RIGHT, NULL), 404);
}

static void test_the_facts(void)
{
    CU_ASSERT_EQUAL(ask("GET", "/status", "format=json", RIGHT, NULL), 200);
    CU_ASSERT_TRUE(shows("\"state\": \"worry\""));
    CU_ASSERT_TRUE(
        shows("{\"name\": \"one\", \"state\": \"worry\", \"words\": \"2 dead letters: see the reasons below.\", "
              "\"accepted\": 3, \"delivered\": 0, \"duplicates\": 0, \"dropped\": 0, \"waiting\": 1, "
              "\"dead\": 2, \"refused\": {\"wrong_signature\": 1}, \"oldest_waiting_seconds\": 0, "));
    CU_ASSERT_TRUE(shows("{\"name\": \"two\", \"state\": \"good\", \"words\": \"Nothing has come yet.\""));
    CU_ASSERT_TRUE(shows("\"state\": \"waiting\""));
    ask("GET", "/status", "", RIGHT, NULL);
    CU_ASSERT_TRUE(shows("<dd data-fact=\"accepted\">3</dd>"));
    CU_ASSERT_TRUE(shows("http://example.com/closecrm/one<"));
    CU_ASSERT_TRUE(shows("refused 1 wrong signature") || shows("Refused: 1 wrong signature") ||
                   shows("1 wrong signature"));
}

static void test_no_secret_unless_asked_for(void)
{
    static char form[256]; /* the last request keeps it */
    ask("GET", "/status", "", RIGHT, NULL);
    CU_ASSERT_FALSE(shows("wk_one"));
    ask("GET", "/status", "format=json", RIGHT, NULL);
    CU_ASSERT_FALSE(shows("wk_one"));
    snprintf(form, sizeof form, "token=%s&action=key&source=one", token_of_page());
    CU_ASSERT_EQUAL(ask("POST", "/status", "", RIGHT, form), 200);
    CU_ASSERT_TRUE(shows("http://example.com/closecrm/one?writeKey=wk_one<"));
    CU_ASSERT_FALSE(shows("wk_two"));
    CU_ASSERT_EQUAL(ask("POST", "/status", "", RIGHT, "action=key&source=one"), 403);
    CU_ASSERT_FALSE(shows("wk_one"));
    CU_ASSERT_EQUAL(ask("POST", "/status", "", RIGHT,
                        "token=0000000000000000000000000000000000000000000000000000000000000000&action=key&source=one"),
                    403);
    CU_ASSERT_FALSE(shows("wk_one"));
    CU_ASSERT_EQUAL(ask("GET", "/status", form, RIGHT, NULL), 200); /* a GET does nothing */
    CU_ASSERT_FALSE(shows("wk_one"));
}

static struct letters letters_now(void)
{
    struct letters letters = {0};
    CU_ASSERT_EQUAL(queue_letters(queue, NULL, 0, 10, 100000, &letters, NULL), 2);
    return letters;
}

static void test_replay(void)
{
    static char form[256]; /* the last request keeps it */
    CU_ASSERT_EQUAL(ask("POST", "/status", "", RIGHT, "action=replay&letter=1"), 403);
    struct letters letters = letters_now();
    CU_ASSERT_FALSE(letters.at[0].replayed);
    letters_free(&letters);
    snprintf(form, sizeof form, "token=%s&action=replay&letter=1", token_of_page());
    CU_ASSERT_EQUAL(ask("POST", "/status", "", RIGHT, form), 303);
    CU_ASSERT_TRUE(shows("\r\nLocation: ?done=replay\r\n"));
    letters = letters_now();
    CU_ASSERT_TRUE(letters.at[0].replayed);
    CU_ASSERT_FALSE(letters.at[1].replayed);
    letters_free(&letters);
    CU_ASSERT_EQUAL(ask("POST", "/status", "", RIGHT, form), 303);
    CU_ASSERT_TRUE(shows("\r\nLocation: ?done=gone\r\n"));
}

static void test_tokens_last_an_hour_or_two(void)
{
    char token[TOKEN_SIZE];
    struct tokens tokens, others;
    const int64_t hour = 3600000, now = 1700000000000 / hour * hour;
    tokens_init(&tokens);
    tokens_init(&others);
    CU_ASSERT_TRUE(tokens_make(&tokens, &made.config, now, token));
    CU_ASSERT_TRUE(tokens_are_good(&tokens, &made.config, now, token));
    CU_ASSERT_TRUE(tokens_are_good(&tokens, &made.config, now + 2 * hour - 1, token));
    CU_ASSERT_FALSE(tokens_are_good(&tokens, &made.config, now + 2 * hour, token));
    CU_ASSERT_TRUE(tokens_are_good(&others, &made.config, now, token)); /* another process, the same state directory */
    CU_ASSERT_FALSE(tokens_are_good(&tokens, &made.config, now, ""));
    tokens_free(&tokens);
    tokens_free(&others);
}

static void test_metrics(void)
{
    CU_ASSERT_EQUAL(ask("GET", "/metrics", "", RIGHT, NULL), 200);
    CU_ASSERT_TRUE(shows("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    CU_ASSERT_TRUE(
        shows("# TYPE closecrm_accepted_events_total counter\nclosecrm_accepted_events_total{source=\"one\"} 3\n"));
    CU_ASSERT_TRUE(shows("closecrm_dead_letters{source=\"one\"} 2\n"));
    CU_ASSERT_TRUE(shows("closecrm_refused_requests_total{source=\"one\",reason=\"wrong_signature\"} 1\n"));
    CU_ASSERT_TRUE(shows("closecrm_refused_requests_total{source=\"two\",reason=\"queue_full\"} 0\n"));
    const char *end = "\n# EOF\n";
    CU_ASSERT_STRING_EQUAL(fake.text + fake.written - strlen(end), end);
    CU_ASSERT_EQUAL(ask("POST", "/metrics", "", RIGHT, ""), 405);
}

static int64_t probed_ns(void)
{
    char path[PATH_SIZE];
    struct stat file;
    path_join(path, state, "health.probe");
    return stat(path, &file) == 0 ? (int64_t)file.st_mtim.tv_sec * 1000000000 + file.st_mtim.tv_nsec : 0;
}

/* Nobody's request writes: a probe does, in a thread of its own. */
static void test_health(void)
{
    char path[PATH_SIZE], log[PATH_SIZE];
    struct stat before, after;
    path_join(path, state, "health.probe");
    path_join(log, state, "queue.db-wal");
    CU_ASSERT_EQUAL(stat(log, &before), 0);
    CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 200);
    CU_ASSERT_TRUE(shows("{\"ok\": true, \"words\": \"events are accepted\", \"last_forwarded\": null, "
                         "\"written\": null"));
    CU_ASSERT_FALSE(shows("one"));
    CU_ASSERT_EQUAL(probed_ns(), 0);
    CU_ASSERT_EQUAL(stat(log, &after), 0);
    CU_ASSERT_EQUAL(before.st_size, after.st_size);

    prober_once(&made.config);
    int64_t first = probed_ns();
    CU_ASSERT_NOT_EQUAL(first, 0);
    CU_ASSERT_EQUAL(stat(log, &after), 0);
    CU_ASSERT_TRUE(after.st_size > before.st_size || after.st_mtim.tv_sec > before.st_mtim.tv_sec ||
                   after.st_mtim.tv_nsec != before.st_mtim.tv_nsec); /* into the database */
    CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 200);
    CU_ASSERT_TRUE(shows("\"written\": \"2"));
    prober_once(&made.config);
    CU_ASSERT_EQUAL(probed_ns(), first); /* not written again within 5 s */
    unlink(path);
}

/* Waits until the answer has this status. */
static bool wait_for_health(int status_wanted)
{
    for (moment deadline = clock_now() + 20000; clock_now() < deadline; usleep(20000)) {
        if (ask("GET", "/healthz", "", NULL, NULL) == status_wanted)
            return true;
    }
    return false;
}

static void test_health_when_nothing_can_be_written(void)
{
    char path[PATH_SIZE];
    path_join(path, state, "health.probe");
    mkdir(path, 0700); /* so that nothing can be put there */
    status_alert(status);
    CU_ASSERT_TRUE(wait_for_health(503));
    CU_ASSERT_TRUE(shows("\"ok\": false"));
    CU_ASSERT_TRUE(shows("nothing can be written where the queue is: "));
    CU_ASSERT_FALSE(shows(state));
    rmdir(path);
    status_quiet(status);
    status_stand(status, &watchers);
    CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 200);
}

/* What became of the last event says how it is, whatever an earlier probe says. */
static void test_health_follows_the_last_event(void)
{
    static const enum refusal refusals[] = {REFUSED_QUEUE_BROKEN, REFUSED_QUEUE_SLOW, REFUSED_QUEUE_FULL};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        usleep(2000); /* the times are milliseconds */
        counters_refused(counters_of(watchers.counters, "one"), refusals[i], clock_unix_ms());
        CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 503);
        usleep(2000);
        CU_ASSERT_TRUE(append(waiting_body));
        CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 200);
    }
    counters_refused(counters_of(watchers.counters, "one"), REFUSED_SIGNATURE, clock_unix_ms());
    CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 200); /* not for the queue's sake */
}

static void test_head_has_no_body(void)
{
    CU_ASSERT_EQUAL(ask("HEAD", "/status", "", RIGHT, NULL), 200);
    CU_ASSERT_STRING_EQUAL(fake_body(&fake), "");
    CU_ASSERT_EQUAL(ask("PUT", "/status", "", RIGHT, NULL), 405);
}

/* A request that comes while the queue is being opened, or when it cannot be. */
static void test_before_the_stages_stand(void)
{
    static char nowhere[] = "/proc/closecrm-nowhere";
    struct status *good = status;
    made.config.state_dir = nowhere;
    status = status_new(&made.config);
    CU_ASSERT_EQUAL(ask("GET", "/status", "", RIGHT, NULL), 200);
    CU_ASSERT_TRUE(shows("The queue cannot be used: "));
    CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 503);
    CU_ASSERT_FALSE(shows(nowhere));
    CU_ASSERT_EQUAL(ask("GET", "/metrics", "", RIGHT, NULL), 200);
    CU_ASSERT_TRUE(shows("\nclosecrm_queue_up 0\n"));
    status_free(status);
    made.config.state_dir = state;
    status = good;
}

/* Where nothing is kept, the page shows what this process has counted. */
static void test_without_a_durable_queue(void)
{
    static const char *const names[] = {"one", "two"};
    struct why why;
    struct status *good = status;
    struct watchers own = {counters_open(NULL, names, 2, &why), recent_open(NULL)};
    made.config.queue = QUEUE_NONE;
    status = status_new(&made.config);
    status_stand(status, &own);
    counters_accepted(counters_of(own.counters, "one"), 700, clock_unix_ms());
    counters_delivered(counters_of(own.counters, "one"), 1000, clock_unix_ms());
    CU_ASSERT_EQUAL(ask("GET", "/status", "format=json", RIGHT, NULL), 200);
    CU_ASSERT_TRUE(shows("\"words\": \"Healthy. Last delivered a moment ago.\", \"accepted\": 1, \"delivered\": 1, "));
    counters_answered(counters_of(own.counters, "one"), 401, clock_unix_ms());
    ask("GET", "/status", "format=json", RIGHT, NULL);
    CU_ASSERT_TRUE(shows("The data plane refuses what is sent: it answered 401."));
    CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 200);
    CU_ASSERT_TRUE(shows("\"written\": null"));
    status_free(status);
    counters_close(own.counters);
    recent_close(own.recent);
    made.config.queue = QUEUE_SQLITE;
    status = good;
}

void suite_status(void)
{
    static CU_TestInfo tests[] = {
        {"without a password there is no page", test_without_a_password_there_is_no_page},
        {"the password", test_the_password},
        {"left to the web server", test_left_to_the_web_server},
        {"only its own style and script", test_only_its_own_style_and_script},
        {"nothing of a payload is markup", test_nothing_of_a_payload_is_markup},
        {"remove is applied", test_remove_is_applied},
        {"the facts", test_the_facts},
        {"no secret unless asked for", test_no_secret_unless_asked_for},
        {"replay", test_replay},
        {"tokens last an hour or two", test_tokens_last_an_hour_or_two},
        {"metrics", test_metrics},
        {"health", test_health},
        {"health when nothing can be written", test_health_when_nothing_can_be_written},
        {"health follows the last event", test_health_follows_the_last_event},
        {"HEAD has no body", test_head_has_no_body},
        {"before the stages stand", test_before_the_stages_stand},
        {"without a durable queue", test_without_a_durable_queue},
        CU_TEST_INFO_NULL,
    };
    suite_add("status", prepare, tidy, tests);
}
