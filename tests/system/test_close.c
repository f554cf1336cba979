/* Subscribing and its kin, against the stand-in Close and through a real web server: one command is enough, no key is
 * ever lost, and what goes wrong is said in one line. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/close_site.h"
#include "tests/support/temporary.h"

#define PATIENT_MS 120000

static const struct standin_close_options usual = {.hold_ms = 0};

static size_t count_arrived(struct close_site *site, const char *prefix, size_t count, const char *subscription)
{
    size_t arrived = 0;
    for (size_t i = 0; i < count; i++) {
        char id[40];
        snprintf(id, sizeof id, "%s_%zu", prefix, i);
        arrived += close_site_arrived(site, id, subscription);
    }
    return arrived;
}

/* The words of an error stand in one line, and no key in any. */
static void check_one_line(const struct close_site *site, const char *what)
{
    size_t lines = 0;
    for (const char *c = site->said; *c != '\0'; c++)
        lines += *c == '\n';
    check(lines == 1, "%s: one line, not %zu: %s", what, lines, site->said);
    check(strstr(site->said, CLOSE_API_KEY) == NULL, "%s: no key in it", what);
}

static void subscribed_in_one_command(void)
{
    struct close_site site;
    char id[80], path[PATH_SIZE], name[120];
    struct stat status;
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site), "--dry-run"), 0);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 0);
        CU_ASSERT(strstr(site.said, "not https") != NULL);
        CU_ASSERT(strstr(site.said, "only a write key") != NULL);

        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 1);
        standin_close_id(site.close, 0, id);
        CU_ASSERT(strstr(site.said, id) != NULL);
        snprintf(name, sizeof name, "state/keys/default-%s.key", id);
        path_join(path, site.site.directory, name);
        CU_ASSERT(stat(path, &status) == 0 && (status.st_mode & 07777) == 0600);

        /* the running program takes the key at once: the very first delivery is good */
        close_site_add(&site, "ev", 0, 200);
        CU_ASSERT(standin_close_wait_idle(site.close, 60000));
        CU_ASSERT_EQUAL(standin_close_counts(site.close).failed, 0);
        CU_ASSERT(standin_wait_messages(site.site.standin, 200, 60000));
        CU_ASSERT_EQUAL(count_arrived(&site, "ev", 200, id), 200);

        /* the same address, whatever its query */
        char again[200];
        snprintf(again, sizeof again, "%s/?writeKey=x", close_site_url(&site));
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", again), 1);
        CU_ASSERT(strstr(site.said, id) != NULL && strstr(site.said, "rotate") != NULL);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 1);

        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscriptions"), 0);
        CU_ASSERT(strstr(site.said, id) != NULL && strstr(site.said, "key: held") != NULL);
        CU_ASSERT(strstr(site.said, "events: 151") != NULL);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "unsubscribe", id), 0);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 0);
        CU_ASSERT_EQUAL(close_site_keys(&site), 0);
    }
    close_site_close(&site);
}

static void all_forty_are_taken(void)
{
    struct close_site site;
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        for (int i = 0; i < 40; i++) {
            char url[64];
            snprintf(url, sizeof url, "https://example.com/%d", i);
            standin_close_subscribe(site.close, url);
        }
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 1);
        CU_ASSERT(strstr(site.said, "all 40") != NULL);
        CU_ASSERT_EQUAL(close_site_keys(&site), 0);
    }
    close_site_close(&site);
}

static void a_probe_finds_the_limit(void)
{
    struct close_site site;
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, "max_body = 2M")) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site), "--probe"), 0);
        CU_ASSERT(strstr(site.said, "probe: 2096") != NULL);

        /* the command now believes in a limit that the running program does not have, and does not take on meanwhile */
        char other[PATH_SIZE];
        close_site_configure(&site, NULL, NULL, "max_body = 3M");
        char *text = temporary_read(site.site.directory, "closecrm.conf");
        CU_ASSERT_PTR_NOT_NULL_FATAL(text);
        close_site_configure(&site, NULL, NULL, "max_body = 2M");
        CU_ASSERT(temporary_write(site.site.directory, "other.conf", 0600, text, strlen(text)));
        free(text);
        path_join(other, site.site.directory, "other.conf");
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--config", other, "--url", close_site_url(&site), "--probe"), 1);
        CU_ASSERT(strstr(site.said, "answered 413") != NULL && strstr(site.said, "max_body") != NULL);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 1);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 0);
        CU_ASSERT_EQUAL(standin_counts(site.site.standin).messages, 0); /* nothing of it was kept */
    }
    close_site_close(&site);
}

/* What goes wrong, and a word of what is said about it. */
struct failing {
    const char *what;
    const char *key, *url; /* NULL: the right ones */
    struct close_fault fault;
    const char *words;
};

static void check_said(const struct close_site *site, const struct failing *row, int code)
{
    check(code == 1, "%s: exit code 1", row->what);
    check_one_line(site, row->what);
    check(strstr(site->said, row->words) != NULL, "%s: says %s: %s", row->what, row->words, site->said);
}

/* A command that tries until its patience is over, beside the others: with a Close and a state directory of its own. */
struct patient {
    const struct failing *row;
    struct standin_close *close;
    struct process process;
    char directory[16], log[32];
};

static void start_patient(struct patient *patient, const struct failing *row, size_t number, struct close_site *site)
{
    char program[PATH_SIZE], log[PATH_SIZE], text[1024], name[32], variable[PATH_SIZE + 64];
    const char *const arguments[] = {program, "subscribe", "--url", close_site_url(site), NULL};
    const char *const environment[] = {variable, NULL};
    *patient = (struct patient){.row = row, .close = standin_close_start(&usual)};
    snprintf(patient->directory, sizeof patient->directory, "patient-%zu", number);
    snprintf(patient->log, sizeof patient->log, "%s.log", patient->directory);
    snprintf(name, sizeof name, "%s/closecrm.conf", patient->directory);
    snprintf(variable, sizeof variable, "CLOSECRM_CONFIG=%s/%s", site->site.directory, name);
    if (row->fault.match != NULL)
        standin_close_fail(patient->close, &row->fault);
    int length = snprintf(text, sizeof text,
                          "data_plane_url = http://127.0.0.1:%u\nwrite_key = " ALPHA_WRITE_KEY
                          "\nclose_api_key = " CLOSE_API_KEY "\nclose_api_url = %s\n",
                          site->site.standin_port, row->url == NULL ? standin_close_url(patient->close) : row->url);
    CU_ASSERT(temporary_directory(site->site.directory, patient->directory));
    CU_ASSERT(temporary_write(site->site.directory, name, 0600, text, (size_t)length));
    site_program(&site->site, program);
    path_join(log, site->site.directory, patient->log);
    CU_ASSERT(
        process_start(&patient->process, &(struct process_options){arguments, environment, site->site.directory, log}));
}

static void check_patient(struct patient *patient, struct close_site *site)
{
    int status = -1;
    char keys[PATH_SIZE], name[32];
    check(process_wait(&patient->process, PATIENT_MS, &status) && WIFEXITED(status), "%s: it ends", patient->row->what);
    process_stop(&patient->process, 1000);
    char *log = temporary_read(site->site.directory, patient->log);
    snprintf(site->said, sizeof site->said, "%s", log == NULL ? "" : log);
    free(log);
    check_said(site, patient->row, WEXITSTATUS(status));
    snprintf(name, sizeof name, "%s/state/keys", patient->directory);
    path_join(keys, site->site.directory, name);
    check(access(keys, F_OK) != 0, "%s: no key is there", patient->row->what);
    CU_ASSERT_EQUAL(standin_close_subscriptions(patient->close), 0);
    standin_close_stop(patient->close);
}

/* These are believed after a few tries at most. */
static void check_soon_told(struct close_site *site)
{
    static const struct failing rows[] = {
        {"wrong key", "api_wrong", NULL, {.match = NULL}, "close_api_key"},
        {"403", NULL, NULL, {"GET /", CLOSE_ANSWER, 9, 403, "{\"error\": \"no\"}"}, "administrator"},
        {"402", NULL, NULL, {"GET /", CLOSE_ANSWER, 9, 402, "{}"}, "plan"},
        {"no JSON", NULL, NULL, {"GET /", CLOSE_ANSWER, 9, 200, "<html>hello</html>"}, "close_api_url"},
        {"no object", NULL, NULL, {"GET /", CLOSE_ANSWER, 9, 200, "[]"}, "close_api_url"},
        {"no list", NULL, NULL, {"GET /webhook", CLOSE_ANSWER, 9, 200, "{\"error\": \"x\"}"}, "close_api_url"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        close_site_configure(site, rows[i].key, rows[i].url, NULL);
        if (rows[i].fault.match != NULL)
            standin_close_fail(site->close, &rows[i].fault);
        check_said(site, &rows[i], CLOSE_RUN(site, "subscribe", "--url", close_site_url(site)));
        standin_close_heal(site->close);
    }
    char tls[100];
    snprintf(tls, sizeof tls, "https%s", standin_close_url(site->close) + 4); /* which does not speak TLS */
    close_site_configure(site, NULL, tls, NULL);
    CU_ASSERT_EQUAL(CLOSE_RUN(site, "subscribe", "--url", close_site_url(site)), 1);
    check_one_line(site, "TLS failure");
    CU_ASSERT(strstr(site->said, "TLS fails") != NULL);
    CU_ASSERT_EQUAL(CLOSE_RUN(site, "reconcile"), 1);
    check_one_line(site, "reconcile, TLS failure");

    CU_ASSERT_EQUAL(standin_close_subscriptions(site->close), 0);
    CU_ASSERT_EQUAL(close_site_keys(site), 0);
}

static void check_ids_are_named(struct close_site *site)
{
    static const char *const commands[] = {"unsubscribe", "pause", "resume", "rotate"};
    close_site_configure(site, NULL, NULL, NULL);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        check(CLOSE_RUN(site, commands[i], "whsub_none") == 1, "%s: exit code 1", commands[i]);
        check_one_line(site, commands[i]);
        check(strstr(site->said, "whsub_none") != NULL, "%s names the id: %s", commands[i], site->said);
    }
}

static void errors_are_one_line(void)
{
    static const struct failing slow[] = {
        {"no such host", NULL, "http://no-such-host.invalid/api/v1", {.match = NULL}, "no such host"},
        {"nobody there", NULL, "http://127.0.0.1:1/api/v1", {.match = NULL}, "no connection"},
        {"always 500", NULL, NULL, {"GET /", CLOSE_ANSWER, 999, 500, "oops"}, "later"},
        {"always cut", NULL, NULL, {"GET /", CLOSE_CUT, 999, 0, NULL}, "later"},
    };
    struct close_site site;
    struct patient patients[sizeof slow / sizeof *slow];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        for (size_t i = 0; i < sizeof slow / sizeof *slow; i++)
            start_patient(&patients[i], &slow[i], i, &site);
        check_soon_told(&site);
        check_ids_are_named(&site);
        for (size_t i = 0; i < sizeof slow / sizeof *slow; i++)
            check_patient(&patients[i], &site);
    }
    close_site_close(&site);
}

/* A good key sometimes gets a 401, and a busy API a 429: neither is believed at once. */
static void passing_refusals_are_asked_again(void)
{
    struct close_site site;
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        standin_close_set(site.close,
                          &(struct standin_close_options){.refuse_every = 2, .limit_every = 3, .limit_for = "0.2"});
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 1);
        CU_ASSERT_EQUAL(close_site_keys(&site), 1);
        CU_ASSERT(standin_close_counts(site.close).refused > 0);
    }
    close_site_close(&site);
}

/* A command that would seem to hang says what it waits for, and how long. */
static void a_long_wait_is_told(void)
{
    struct close_site site;
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        standin_close_set(site.close, &(struct standin_close_options){.limit_every = 3, .limit_for = "5.5"});
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
        check(strstr(site.said, "subscribe: waiting 6 s: Close's rate limit is used up\n") != NULL, "it says so: %s",
              site.said);
    }
    close_site_close(&site);
}

/* Whether each subscription in Close has its key here, and the other way round. */
static void check_no_key_is_lost(struct close_site *site, const char *what)
{
    size_t subscriptions = standin_close_subscriptions(site->close);
    check(close_site_keys(site) == subscriptions, "%s: %zu keys for %zu subscriptions", what, close_site_keys(site),
          subscriptions);
    for (size_t i = 0; i < subscriptions; i++) {
        char id[80], key[80], name[120];
        snprintf(name, sizeof name, "state/keys/default-%s.key", standin_close_id(site->close, i, id));
        char *text = temporary_read(site->site.directory, name);
        check(text != NULL && strstr(text, standin_close_key(site->close, i, key)) != NULL, "%s: the key of %s", what,
              id);
        free(text);
    }
}

static void lost_answers_lose_no_key(void)
{
    struct close_site site;
    for (int shown = 0; shown < 2; shown++) {
        const struct standin_close_options options = {.shows_keys = shown == 1};
        if (close_site_open(&site, &setup_lighttpd_spawn, &options, NULL)) {
            standin_close_fail(site.close, &(struct close_fault){"POST /webhook", CLOSE_DONE_CUT, 1, 0, NULL});
            CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
            CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 1);
            check_no_key_is_lost(&site, shown ? "keys are shown" : "keys are not shown");
        }
        close_site_close(&site);
    }
}

/* What Close has, and nothing can be stored of, goes again. */
static void a_key_that_cannot_be_stored(void)
{
    struct close_site site;
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        /* a file in the place of the directory of keys */
        CU_ASSERT(temporary_write(site.site.directory, "state/keys", 0600, "", 0));
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 1);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 0);
    }
    close_site_close(&site);
}

/* Killed at every request that it makes, before it is answered: the next run finds what was left. */
static void killed_at_any_moment(void)
{
    static const char *const moments[] = {"GET /me", "GET /webhook", "POST /webhook"};
    struct close_site site;
    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) {
        if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
            struct process process = {0};
            int status;
            standin_close_fail(site.close, &(struct close_fault){moments[i], CLOSE_HOLD, 1, 0, NULL});
            const char *const arguments[] = {"subscribe", "--url", close_site_url(&site), NULL};
            CU_ASSERT(close_site_start(&site, &process, arguments));
            CU_ASSERT(standin_close_wait_held(site.close, 60000));
            kill(process.pid, SIGKILL);
            CU_ASSERT(process_wait(&process, 60000, &status));
            standin_close_heal(site.close);
            check(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)) == 0, "after a kill at %s: %s",
                  moments[i], site.said);
            check(standin_close_subscriptions(site.close) == 1, "after a kill at %s: one subscription", moments[i]);
            check_no_key_is_lost(&site, moments[i]);
        }
        close_site_close(&site);
    }
}

/* Killed before the key was stored; then somebody puts the key that Close's pages show into the configuration. */
static void a_key_that_somebody_else_stored(void)
{
    static const char key[] = "signature_key = 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    struct close_site site;
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        struct process process = {0};
        int status;
        standin_close_fail(site.close, &(struct close_fault){"POST /webhook", CLOSE_HOLD, 1, 0, NULL});
        const char *const arguments[] = {"subscribe", "--url", close_site_url(&site), NULL};
        CU_ASSERT(close_site_start(&site, &process, arguments));
        CU_ASSERT(standin_close_wait_held(site.close, 60000));
        kill(process.pid, SIGKILL);
        CU_ASSERT(process_wait(&process, 60000, &status));
        standin_close_heal(site.close);
        close_site_configure(&site, NULL, NULL, key);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscriptions"), 0);
        check(standin_close_subscriptions(site.close) == 1, "it is left in Close: %s", site.said);
    }
    close_site_close(&site);
}

/* Killed after some milliseconds, more each time: whatever is left, the next run makes it good. */
static void killed_again_and_again(void)
{
    struct close_site site;
    size_t done = 0;
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        const char *const arguments[] = {"subscribe", "--url", close_site_url(&site), NULL};
        for (int ms = 0; ms < 40; ms++) {
            struct process process = {0};
            int status;
            char id[80];
            CU_ASSERT(close_site_start(&site, &process, arguments));
            poll(NULL, 0, ms);
            kill(process.pid, SIGKILL);
            CU_ASSERT(process_wait(&process, 60000, &status));
            int code = CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site));
            check(standin_close_subscriptions(site.close) == 1, "after %d ms: one subscription (%d: %s)", ms, code,
                  site.said);
            check_no_key_is_lost(&site, "killed again and again");
            done += code == 1; /* there was one already: the killed one had got through */
            CU_ASSERT_EQUAL(CLOSE_RUN(&site, "unsubscribe", standin_close_id(site.close, 0, id)), 0);
        }
        printf("(%zu of 40 had got through) ", done);
    }
    close_site_close(&site);
}

/* SIGTERM in the middle waits until the key is safe. */
static void a_signal_waits(void)
{
    struct close_site site;
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        struct process process = {0};
        int status;
        standin_close_fail(site.close, &(struct close_fault){"POST /webhook", CLOSE_HOLD, 1, 0, NULL});
        const char *const arguments[] = {"subscribe", "--url", close_site_url(&site), NULL};
        CU_ASSERT(close_site_start(&site, &process, arguments));
        CU_ASSERT(standin_close_wait_held(site.close, 60000));
        kill(process.pid, SIGTERM);
        standin_close_heal(site.close);
        CU_ASSERT(process_wait(&process, 60000, &status));
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 1);
        check_no_key_is_lost(&site, "SIGTERM");
    }
    close_site_close(&site);
}

static void other_events_and_filters(void)
{
    static const char filter[] =
        "{\"type\": \"field_accessor\", \"field\": \"data\", \"filter\": {\"type\": \"non_null\"}}";
    struct close_site site;
    char path[PATH_SIZE];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        CU_ASSERT(temporary_write(site.site.directory, "filter.json", 0644, filter, sizeof filter - 1));
        path_join(path, site.site.directory, "filter.json");
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site), "--events",
                                  "lead.*,brand_new.thing", "--filter", path),
                        0);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscriptions", "--json"), 0);
        CU_ASSERT(strstr(site.said,
                         "{\"object_type\":\"brand_new\",\"action\":\"thing\",\"extra_filter\":{\"type\":") != NULL);
        CU_ASSERT(strstr(site.said, "opportunity") == NULL);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", "https://example.com/x", "--events", "nonsense.*"), 2);
    }
    close_site_close(&site);
}

void suite_close(void)
{
    static CU_TestInfo tests[] = {
        {"subscribed in one command", subscribed_in_one_command},
        {"all 40 are taken", all_forty_are_taken},
        {"a probe finds the limit", a_probe_finds_the_limit},
        {"each error is one line that says what to do", errors_are_one_line},
        {"a passing 401 and a 429 are asked again", passing_refusals_are_asked_again},
        {"a long wait is told", a_long_wait_is_told},
        {"lost answers lose no key", lost_answers_lose_no_key},
        {"a key that cannot be stored", a_key_that_cannot_be_stored},
        {"killed at any moment", killed_at_any_moment},
        {"a key that somebody else stored", a_key_that_somebody_else_stored},
        {"killed again and again", killed_again_and_again},
        {"a signal waits until the key is safe", a_signal_waits},
        {"chosen events, and a filter", other_events_and_filters},
        CU_TEST_INFO_NULL,
    };
    suite_add("close", NULL, NULL, tests);
}
