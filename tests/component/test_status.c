/* The status page: who may see it, what it shows, what it must never show, what can be done on it. Against a real queue
 * with a waiting event and dead letters in it. */
#include "kept/keys.h"
#include "queue/inspect.h"
#include "status/status_private.h"
#include "tests/suites.h"
#include "tests/support/status_rig.h"

#include <regex.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* "admin:wrong", "root:correct horse" */
#define WRONG_PASSWORD "Basic YWRtaW46d3Jvbmc="
#define WRONG_USER "Basic cm9vdDpjb3JyZWN0IGhvcnNl"

static struct status_rig rig;

static int prepare(void)
{
    return status_rig_open(&rig);
}

static int tidy(void)
{
    return status_rig_close(&rig);
}

static int ask(const char *method, const char *path, const char *query, const char *authorization, const char *form)
{
    return status_rig_ask(&rig, method, path, query, authorization, form);
}

static bool shows(const char *text)
{
    return status_rig_shows(&rig, text);
}

/* Looks at the page and takes the token of its forms. */
static const char *token_of_page(void)
{
    static char token[TOKEN_SIZE];
    CU_ASSERT_EQUAL(ask("GET", "/status", "", STATUS_RIGHT, NULL), 200);
    const char *at = strstr(rig.fake.text, "data-token=\"");
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    snprintf(token, sizeof token, "%.64s", at + 12);
    return token;
}

static void test_without_a_password_there_is_no_page(void)
{
    char *password = rig.made.config.admin_password;
    rig.made.config.admin_password = NULL;
    CU_ASSERT_EQUAL(ask("GET", "/status", "", NULL, NULL), 404);
    CU_ASSERT_EQUAL(ask("GET", "/status", "", STATUS_RIGHT, NULL), 404);
    CU_ASSERT_EQUAL(ask("GET", "/metrics", "", STATUS_RIGHT, NULL), 404);
    CU_ASSERT_EQUAL(ask("GET", "/status", "", "somebody", NULL), 404);
    CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 200);
    rig.made.config.admin_password = password;
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
    CU_ASSERT_EQUAL(ask("GET", "/status", "", STATUS_RIGHT, NULL), 200);
    CU_ASSERT_EQUAL(ask("GET", "/metrics", "", STATUS_RIGHT, NULL), 200);
}

static void test_left_to_the_web_server(void)
{
    rig.made.config.admin = ADMIN_SERVER;
    CU_ASSERT_EQUAL(ask("GET", "/status", "", NULL, NULL), 403);
    CU_ASSERT_EQUAL(ask("GET", "/status", "", STATUS_RIGHT, NULL), 403);
    CU_ASSERT_EQUAL(ask("GET", "/status", "", "somebody", NULL), 403); /* as nginx's $remote_user: nobody checked it */
    CU_ASSERT_TRUE(shows("what its sample has for that"));
    rig.auth_type = "Basic";
    CU_ASSERT_EQUAL(ask("GET", "/status", "", "somebody", NULL), 200);
    CU_ASSERT_EQUAL(ask("GET", "/metrics", "", "somebody", NULL), 200);
    CU_ASSERT_EQUAL(ask("GET", "/status", "", NULL, NULL), 403);
    rig.auth_type = NULL;
    rig.made.config.admin = ADMIN_PASSWORD;
}

static bool matches(const char *pattern)
{
    regex_t regex;
    CU_ASSERT_EQUAL_FATAL(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB | REG_ICASE), 0);
    bool found = regexec(&regex, fake_body(&rig.fake), 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

static void test_only_its_own_style_and_script(void)
{
    ask("GET", "/status", "", STATUS_RIGHT, NULL);
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
    ask("GET", "/status", "", STATUS_RIGHT, NULL);
    CU_ASSERT_FALSE(shows("<script>alert"));
    CU_ASSERT_TRUE(shows("&lt;script&gt;alert"));
    ask("GET", "/status", "format=json", STATUS_RIGHT, NULL);
    CU_ASSERT_FALSE(shows("<"));
    CU_ASSERT_TRUE(shows("\\u003cscript>alert"));
    CU_ASSERT_EQUAL(ask("GET", "/status", "letter=1", STATUS_RIGHT, NULL), 200);
    CU_ASSERT_FALSE(shows("<script>alert"));
    CU_ASSERT_TRUE(shows("&lt;script&gt;alert"));
    ask("GET", "/status", "source=%22%3E%3Cscript%3Ealert", STATUS_RIGHT, NULL);
    CU_ASSERT_FALSE(shows("<script>alert"));
}

static void test_remove_is_applied(void)
{
    CU_ASSERT_EQUAL(ask("GET", "/status", "letter=1&format=json", STATUS_RIGHT, NULL), 200);
    CU_ASSERT_TRUE(shows("ev_2"));
    CU_ASSERT_FALSE(shows("555-private"));
    CU_ASSERT_FALSE(shows("556-private"));
    CU_ASSERT_EQUAL(ask("GET", "/status", "letter=77", STATUS_RIGHT, NULL), 404);
}

static void test_the_facts(void)
{
    CU_ASSERT_EQUAL(ask("GET", "/status", "format=json", STATUS_RIGHT, NULL), 200);
    CU_ASSERT_TRUE(shows("\"state\": \"worry\""));
    CU_ASSERT_TRUE(shows("{\"name\": \"one\", \"state\": \"worry\", \"words\": \"2 dead letters are kept. See why, "
                         "mend that, and replay them: `closecrm.fcgi dead list --source one`.\", "
                         "\"accepted\": 3, \"delivered\": 0, \"duplicates\": 0, \"dropped\": 0, \"waiting\": 1, "
                         "\"dead\": 2, \"refused\": {\"wrong_signature\": 1}, \"oldest_waiting_seconds\": "));
    CU_ASSERT_TRUE(matches("\"oldest_waiting_seconds\": [0-9]{1,2}, "));
    CU_ASSERT_TRUE(shows("{\"name\": \"two\", \"state\": \"good\", \"words\": \"Nothing has come yet.\""));
    CU_ASSERT_TRUE(shows("\"state\": \"waiting\""));
    ask("GET", "/status", "", STATUS_RIGHT, NULL);
    CU_ASSERT_TRUE(shows("<dd data-fact=\"accepted\">3</dd>"));
    CU_ASSERT_TRUE(shows("http://example.com/closecrm/one<"));
    CU_ASSERT_TRUE(shows("refused 1 wrong signature") || shows("Refused: 1 wrong signature") ||
                   shows("1 wrong signature"));
}

static void test_no_secret_unless_asked_for(void)
{
    static char form[256]; /* the last request keeps it */
    ask("GET", "/status", "", STATUS_RIGHT, NULL);
    CU_ASSERT_FALSE(shows("wk_one"));
    ask("GET", "/status", "format=json", STATUS_RIGHT, NULL);
    CU_ASSERT_FALSE(shows("wk_one"));
    snprintf(form, sizeof form, "token=%s&action=key&source=one", token_of_page());
    CU_ASSERT_EQUAL(ask("POST", "/status", "", STATUS_RIGHT, form), 200);
    CU_ASSERT_TRUE(shows("http://example.com/closecrm/one?writeKey=wk_one<"));
    CU_ASSERT_FALSE(shows("wk_two"));
    CU_ASSERT_EQUAL(ask("POST", "/status", "", STATUS_RIGHT, "action=key&source=one"), 403);
    CU_ASSERT_FALSE(shows("wk_one"));
    CU_ASSERT_EQUAL(ask("POST", "/status", "", STATUS_RIGHT,
                        "token=0000000000000000000000000000000000000000000000000000000000000000&action=key&source=one"),
                    403);
    CU_ASSERT_FALSE(shows("wk_one"));
    CU_ASSERT_EQUAL(ask("GET", "/status", form, STATUS_RIGHT, NULL), 200); /* a GET does nothing */
    CU_ASSERT_FALSE(shows("wk_one"));
}

static struct letters letters_now(void)
{
    struct letters letters = {0};
    CU_ASSERT_EQUAL(queue_letters(rig.queue, NULL, 0, 10, 100000, &letters, NULL), 2);
    return letters;
}

static void test_replay(void)
{
    static char form[256]; /* the last request keeps it */
    CU_ASSERT_EQUAL(ask("POST", "/status", "", STATUS_RIGHT, "action=replay&letter=1"), 403);
    struct letters letters = letters_now();
    CU_ASSERT_FALSE(letters.at[0].replayed);
    letters_free(&letters);
    snprintf(form, sizeof form, "token=%s&action=replay&letter=1", token_of_page());
    size_t sources = rig.made.config.sources;
    rig.made.config.sources = 0; /* its source is not configured any more: nobody would send it */
    CU_ASSERT_EQUAL(ask("POST", "/status", "", STATUS_RIGHT, form), 409);
    rig.made.config.sources = sources;
    letters = letters_now();
    CU_ASSERT_FALSE(letters.at[0].replayed);
    letters_free(&letters);
    CU_ASSERT_EQUAL(ask("POST", "/status", "", STATUS_RIGHT, form), 303);
    CU_ASSERT_TRUE(shows("\r\nLocation: ?done=replay\r\n"));
    letters = letters_now();
    CU_ASSERT_TRUE(letters.at[0].replayed);
    CU_ASSERT_FALSE(letters.at[1].replayed);
    letters_free(&letters);
    CU_ASSERT_EQUAL(ask("POST", "/status", "", STATUS_RIGHT, form), 303);
    CU_ASSERT_TRUE(shows("\r\nLocation: ?done=gone\r\n"));
}

/* Of a process that was killed while it wrote it. */
static void test_half_a_secret_does_not_stay(void)
{
    struct tokens tokens;
    char token[TOKEN_SIZE], secret[PATH_SIZE], fresh[PATH_SIZE];
    path_join(secret, rig.made.config.state_dir, "status.secret");
    path_join(fresh, rig.made.config.state_dir, "status.secret.new");
    unlink(secret);
    CU_ASSERT_TRUE(temporary_write(rig.made.config.state_dir, "status.secret.new", 0600, "ha", 2));
    CU_ASSERT_EQUAL(chown(fresh, geteuid(), getegid()), 0);
    tokens_init(&tokens);
    CU_ASSERT_TRUE(tokens_make(&tokens, &rig.made.config, 1, token));
    tokens_free(&tokens);
    CU_ASSERT_NOT_EQUAL(access(fresh, F_OK), 0);
    CU_ASSERT_EQUAL(access(secret, F_OK), 0);
}

static void test_tokens_last_an_hour_or_two(void)
{
    char token[TOKEN_SIZE];
    struct tokens tokens, others;
    const int64_t hour = 3600000, now = 1700000000000 / hour * hour;
    tokens_init(&tokens);
    tokens_init(&others);
    CU_ASSERT_TRUE(tokens_make(&tokens, &rig.made.config, now, token));
    CU_ASSERT_TRUE(tokens_are_good(&tokens, &rig.made.config, now, token));
    CU_ASSERT_TRUE(tokens_are_good(&tokens, &rig.made.config, now + 2 * hour - 1, token));
    CU_ASSERT_FALSE(tokens_are_good(&tokens, &rig.made.config, now + 2 * hour, token));
    CU_ASSERT_TRUE(
        tokens_are_good(&others, &rig.made.config, now, token)); /* another process, the same state directory */
    CU_ASSERT_FALSE(tokens_are_good(&tokens, &rig.made.config, now, ""));
    tokens_free(&tokens);
    tokens_free(&others);
}

static void test_metrics(void)
{
    CU_ASSERT_EQUAL(ask("GET", "/metrics", "", STATUS_RIGHT, NULL), 200);
    CU_ASSERT_TRUE(shows("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    CU_ASSERT_TRUE(
        shows("# TYPE closecrm_accepted_events_total counter\nclosecrm_accepted_events_total{source=\"one\"} 3\n"));
    CU_ASSERT_TRUE(shows("closecrm_dead_letters{source=\"one\"} 1\n"));
    CU_ASSERT_TRUE(shows("closecrm_refused_requests_total{source=\"one\",reason=\"wrong_signature\"} 1\n"));
    CU_ASSERT_TRUE(shows("closecrm_refused_requests_total{source=\"two\",reason=\"queue_full\"} 0\n"));
    const char *end = "\n# EOF\n";
    CU_ASSERT_STRING_EQUAL(rig.fake.text + rig.fake.written - strlen(end), end);
    CU_ASSERT_EQUAL(ask("POST", "/metrics", "", STATUS_RIGHT, ""), 405);
}

/* What strangers are not told stands here. */
static void test_a_locked_source(void)
{
    char folder[PATH_SIZE], note[PATH_SIZE];
    struct error why = {0};
    CU_ASSERT_TRUE(signed_note(rig.state, "two", "whsub_9", &why));
    ask("GET", "/status", "format=json", STATUS_RIGHT, NULL);
    CU_ASSERT_TRUE(shows("\"name\": \"two\", \"state\": \"bad\", \"words\": \"Nothing is let in, and Close keeps its "
                         "events meanwhile, for 72 hours: "));
    CU_ASSERT_TRUE(shows("closecrm.fcgi rotate --source two whsub_9"));
    path_join(folder, rig.state, "signed");
    path_join(note, folder, "two");
    CU_ASSERT_EQUAL(unlink(note), 0);
    ask("GET", "/status", "format=json", STATUS_RIGHT, NULL);
    CU_ASSERT_FALSE(shows("Nothing is let in"));
}

/* A key that `subscribe` obtained is as good as one in the configuration: no write key in the URL is offered, for it
 * would be answered 401. */
static void test_a_key_of_subscribe(void)
{
    static const char hex[] = "3333333333333333333333333333333333333333333333333333333333333333";
    static const struct held_key key = {.source = "two", .subscription = "whsub_seen"};
    struct error why = {0};
    CU_ASSERT_EQUAL(ask("GET", "/status", "source=two", STATUS_RIGHT, NULL), 200);
    CU_ASSERT(shows("The source has no signature key: the write key must be in the URL."));
    CU_ASSERT(shows("Show with key"));
    CU_ASSERT(kept_key_store(&rig.made.config, &key, hex, "https://h/two", &why));
    CU_ASSERT_EQUAL(ask("GET", "/status", "source=two", STATUS_RIGHT, NULL), 200);
    CU_ASSERT(shows("Signed requests are taken, and no others: key of whsub_seen ("));
    CU_ASSERT_FALSE(shows("Show with key"));
    CU_ASSERT(kept_key_remove(&rig.made.config, "two", "whsub_seen", &why));
    char path[PATH_SIZE];
    path_join(path, rig.state, "signed/two");
    CU_ASSERT_EQUAL(unlink(path), 0);
}

static void test_head_has_no_body(void)
{
    CU_ASSERT_EQUAL(ask("HEAD", "/status", "", STATUS_RIGHT, NULL), 200);
    CU_ASSERT_STRING_EQUAL(fake_body(&rig.fake), "");
    CU_ASSERT_EQUAL(ask("PUT", "/status", "", STATUS_RIGHT, NULL), 405);
}

/* A request that comes while the queue is being opened, or when it cannot be. */
static void test_before_the_stages_stand(void)
{
    static char nowhere[] = "/proc/closecrm-nowhere";
    struct status *good = rig.status;
    rig.made.config.state_dir = nowhere;
    rig.status = status_new(&rig.made.config);
    CU_ASSERT_EQUAL(ask("GET", "/status", "", STATUS_RIGHT, NULL), 200);
    CU_ASSERT_TRUE(shows("The queue cannot be used: "));
    CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 503);
    CU_ASSERT_FALSE(shows(nowhere));
    CU_ASSERT_EQUAL(ask("GET", "/metrics", "", STATUS_RIGHT, NULL), 200);
    CU_ASSERT_TRUE(shows("\nclosecrm_queue_up 0\n"));
    status_free(rig.status);
    rig.made.config.state_dir = rig.state;
    rig.status = good;
}

/* Where nothing is kept, the page shows what this process has counted. */
static void test_without_a_durable_queue(void)
{
    static const char *const names[] = {"one", "two"};
    struct error why;
    struct status *good = rig.status;
    struct telemetry own = {counters_open(NULL, names, 2, &why), recent_open(NULL), NULL};
    rig.made.config.queue = QUEUE_NONE;
    rig.made.config.state_dir = NULL; /* what is in its queue.db would be told */
    rig.status = status_new(&rig.made.config);
    status_attach(rig.status, &own);
    counters_accepted(counters_of(own.counters, "one"), 700, clock_unix_ms());
    counters_delivered(counters_of(own.counters, "one"), 1000, clock_unix_ms());
    CU_ASSERT_EQUAL(ask("GET", "/status", "format=json", STATUS_RIGHT, NULL), 200);
    CU_ASSERT_TRUE(shows("\"words\": \"Healthy. Last delivered a moment ago.\", \"accepted\": 1, \"delivered\": 1, "));
    counters_answered(counters_of(own.counters, "one"), 401, true, clock_unix_ms());
    ask("GET", "/status", "format=json", STATUS_RIGHT, NULL);
    CU_ASSERT_TRUE(
        shows("The data plane refuses what is sent: it answered 401; Close keeps the events and sends them again."));
    CU_ASSERT_EQUAL(ask("GET", "/healthz", "", NULL, NULL), 200);
    CU_ASSERT_TRUE(shows("\"written\": null"));
    status_free(rig.status);
    counters_close(own.counters);
    recent_close(own.recent);
    rig.made.config.queue = QUEUE_SQLITE;
    rig.made.config.state_dir = rig.state;
    rig.status = good;
}

void suite_status(void)
{
    static CU_TestInfo tests[] = {
        {"half a secret does not stay", test_half_a_secret_does_not_stay},
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
        {"a locked source", test_a_locked_source},
        {"a key of subscribe", test_a_key_of_subscribe},
        {"HEAD has no body", test_head_has_no_body},
        {"before the stages stand", test_before_the_stages_stand},
        {"without a durable queue", test_without_a_durable_queue},
        CU_TEST_INFO_NULL,
    };
    suite_add("status", prepare, tidy, tests);
}
