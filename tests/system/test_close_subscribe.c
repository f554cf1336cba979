/* What subscribing asks and knows, against the stand-in Close and through a real web server: which key a source has,
 * whether the URL leads to the program, whose a subscription is, and which event types it lacks. */
#include "tests/suites.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/close_site.h"
#include "tests/support/durable.h"

#define MINUTE INT64_C(60000)

static const struct standin_close_options usual = {.retry_ms = 20, .failures_most = 30};

/* Where the source's key is known, each command and the running program know it. */
static void one_key_for_all(void)
{
    struct close_site site;
    char id[80], words[160];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site), "--probe"), 0);
        snprintf(words, sizeof words, "key of %s (state/keys)", standin_close_id(site.close, 0, id));
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "send-test", close_site_url(&site)), 0);
        check(strstr(site.said, words) != NULL, "send-test names the key: %s", site.said);
        CU_ASSERT(standin_wait_messages(site.site.standin, 1, 60000));
        CLOSE_RUN(&site, "check", "--offline", "--settings");
        CU_ASSERT(strstr(site.said, "signature_key = key of ") != NULL);
        CU_ASSERT(strstr(site.said, words) != NULL);
        CU_ASSERT(strstr(site.said, "writeKey") == NULL);
    }
    close_site_close(&site);
}

/* What is given to Close leads to the program, or nothing is made there. */
static void a_wrong_url_is_refused(void)
{
    static const char *const wrong[] = {"/x", "/../somewhere-else"}; /* no source of that name; not the program */
    struct close_site site;
    char url[300], nobody[] = "http://127.0.0.1:1/closecrm";
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site), "--probe"), 0);
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            snprintf(url, sizeof url, "%s%s", close_site_url(&site), wrong[i]);
            CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", url, "--probe"), 1);
            check(strstr(site.said, "no subscription was made: ") != NULL, "%s: %s", url, site.said);
            CU_ASSERT(strstr(site.said, "say --no-url-check") != NULL);
            CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 1);
        }
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", nobody), 1);
        CU_ASSERT(strstr(site.said, "nothing listens there") != NULL && strstr(site.said, "--no-url-check") != NULL);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 1);
        CU_ASSERT_EQUAL(close_site_keys(&site), 1);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", nobody, "--no-url-check"), 0);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 2);
    }
    close_site_close(&site);
}

/* Two organizations of Close, a source for each. */
static void configure_two(struct close_site *site, const struct standin_close *other)
{
    char text[2048];
    int length = snprintf(text, sizeof text,
                          "data_plane_url = http://127.0.0.1:%u\n"
                          "[source one]\nwrite_key = " ALPHA_WRITE_KEY "\nclose_api_key = " CLOSE_API_KEY
                          "\nclose_api_url = %s\n"
                          "[source two]\nwrite_key = another\nclose_api_key = " CLOSE_API_KEY "\nclose_api_url = %s\n",
                          site->site.standin_port, standin_close_url(site->close), standin_close_url(other));
    CU_ASSERT(temporary_write(site->site.directory, "closecrm.conf", 0600, text, (size_t)length));
}

static void the_source_is_found_by_the_id(void)
{
    struct close_site site;
    struct standin_close *other = standin_close_start(&usual);
    char first[80], id[80], status[80], words[200];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        configure_two(&site, other);
        standin_close_subscribe(site.close, "https://example.com/one");
        standin_close_subscribe(other, "https://example.com/filler"); /* ids of the two are not the same from here on */
        standin_close_subscribe(other, "https://example.com/else");   /* its key is not held here */
        standin_close_id(site.close, 0, first);
        CU_ASSERT_EQUAL(
            CLOSE_RUN(&site, "subscribe", "--source", "two", "--url", "http://127.0.0.1:1/two", "--no-url-check"), 0);
        standin_close_id(other, 2, id); /* the key of this one is */
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscriptions"), 0);
        check(strstr(site.said, first) != NULL && strstr(site.said, id) != NULL && strstr(site.said, "source two:"),
              "subscriptions of all sources: %s", site.said);
        for (size_t i = 1; i < 3; i++) {
            standin_close_id(other, i, id);
            CU_ASSERT_EQUAL(CLOSE_RUN(&site, "pause", id), 0);
            CU_ASSERT_STRING_EQUAL(standin_close_status(other, i, status), "paused");
            snprintf(words, sizeof words, "resume --source two %s`", id);
            check(close_site_advises(&site, words), "the command names the source: %s", site.said);
            CLOSE_RUN(&site, "resume", id); /* there is nothing to reconcile */
            CU_ASSERT_STRING_EQUAL(standin_close_status(other, i, status), "active");
        }
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "unsubscribe", first), 0);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 0);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--source", "one", "--url", "http://127.0.0.1:1/two"), 1);
        CU_ASSERT(strstr(site.said, "the name of source two: say --source two, or put /one at its end") != NULL);
    }
    close_site_close(&site);
    standin_close_stop(other);
}

/* What the subscription lacks is told, and can be added: it stays the same, with its key. */
static void lacking_types_are_told_and_added(void)
{
    static const struct close_event lacking = {
        .id = "ev_lacking", .lead = "lead_1", .object_type = "opportunity", .action = "created"};
    struct close_site site;
    char id[80], key[80], before[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site), "--events", "lead.*"), 0);
        standin_close_id(site.close, 0, id);
        standin_close_key(site.close, 0, before);
        standin_close_add(site.close, &lacking);
        standin_close_move_clock(site.close, 6 * MINUTE);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 0);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "check"), 0);
        check(strstr(site.said, "the subscription lacks, so that they do not come: opportunity.created") != NULL,
              "check names it: %s", site.said);
        CU_ASSERT(close_site_advises(&site, "subscribe --update --source default"));

        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--update", "--dry-run"), 0);
        CU_ASSERT(strstr(site.said, "would get: opportunity.created") != NULL);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--update"), 0);
        CU_ASSERT(strstr(site.said, "gets, with the key that it has: opportunity.created") != NULL);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 1);
        CU_ASSERT_STRING_EQUAL(standin_close_key(site.close, 0, key), before);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "check"), 0);
        CU_ASSERT(strstr(site.said, "the subscription lacks") == NULL);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--update"), 0);
        CU_ASSERT(strstr(site.said, "no event was seen") != NULL);
        standin_close_add(
            site.close,
            &(struct close_event){.id = "ev_now", .lead = "lead_1", .object_type = "opportunity", .action = "created"});
        CU_ASSERT(standin_wait_messages(site.site.standin, 1, 60000));
        CU_ASSERT(close_site_arrived(&site, "ev_now", id));
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--update", "--events", "contact.created,lead.created"), 0);
        CU_ASSERT(strstr(site.said, "has: contact.created\n") != NULL);
    }
    close_site_close(&site);
}

/* While a command subscribes, Close has a subscription before its key is stored here: no reason to call the key lost.
 */
static void a_key_that_is_on_its_way_is_not_missing(void)
{
    struct close_site site;
    char id[80], path[PATH_SIZE], name[120];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
        standin_close_id(site.close, 0, id);
        close_site_stop_program(&site);
        snprintf(name, sizeof name, "state/keys/default-%s.key", id);
        path_join(path, site.site.directory, name);
        CU_ASSERT_EQUAL(remove(path), 0);
        durable_lose_key(id);
        path_join(path, site.site.directory, "state/closeapi/default/subscribe.lock");
        int lock = open(path, O_RDWR | O_CLOEXEC);
        CU_ASSERT(lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0);
        CLOSE_RUN(&site, "reconcile");
        check(strstr(site.said, "is not held here") == NULL, "it is on its way: %s", site.said);
        close(lock);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 1);
        check(strstr(site.said, "is not held here") != NULL, "it is gone: %s", site.said);
    }
    close_site_close(&site);
}

/* A rotation that was killed when the new subscription had been made and only the old one was noted. */
static void an_interrupted_rotation_goes_on(void)
{
    struct close_site site;
    char from[80], to[80], note[400], words[200];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "rotate"), 0);
        standin_close_id(site.close, 0, from);
        standin_close_id(site.close, 1, to);
        int length =
            snprintf(note, sizeof note, "from = %s\nurl = %s\nbefore = %s\n", from, close_site_url(&site), from);
        CU_ASSERT(temporary_write(site.site.directory, "state/closeapi/default/rotating", 0600, note, (size_t)length));
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "rotate"), 0);
        snprintf(words, sizeof words, "%s is taking the place of %s", to, from);
        check(strstr(site.said, words) != NULL, "it goes on: %s", site.said);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 2);
        CU_ASSERT_EQUAL(close_site_keys(&site), 2);
    }
    close_site_close(&site);
}

/* As when `resume` is killed while Close does it. What Close refuses stays paused by the command. */
static void a_resume_without_an_answer_leaves_no_pause(void)
{
    static const char by_us[] = "paused by the command";
    struct close_site site;
    char id[80], status[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
        standin_close_id(site.close, 0, id);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "pause", id), 0);
        standin_close_fail(site.close, &(struct close_fault){"PUT /", CLOSE_ANSWER, STANDIN_ALWAYS, 400, "{}"});
        CU_ASSERT(CLOSE_RUN(&site, "resume", id) != 0);
        standin_close_heal(site.close);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscriptions"), 0);
        check(strstr(site.said, by_us) != NULL, "refused: %s", site.said);
        standin_close_fail(site.close, &(struct close_fault){"PUT /", CLOSE_DONE_CUT, STANDIN_ALWAYS, 0, NULL});
        CU_ASSERT(CLOSE_RUN(&site, "resume", id) != 0);
        standin_close_heal(site.close);
        CU_ASSERT_STRING_EQUAL(standin_close_status(site.close, 0, status), "active");
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscriptions"), 0);
        check(strstr(site.said, by_us) == NULL, "not answered: %s", site.said);
    }
    close_site_close(&site);
}

/* The same event by webhook and by Event Log is the same message. */
static void both_ways_give_the_same_message(void)
{
    struct close_site site;
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL)) {
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "subscribe", "--url", close_site_url(&site)), 0);
        standin_close_add(site.close, &(struct close_event){.id = "ev_0", .filler = 3000});
        CU_ASSERT(standin_wait_messages(site.site.standin, 1, 60000));
        const struct standin_message *first = standin_message(site.site.standin, 0);
        char *webhook = first == NULL ? NULL : strndup(first->json.at, first->json.length);

        /* another queue knows nothing: the same event again, this time out of the log */
        close_site_stop_program(&site);
        CU_ASSERT(durable_new_queue());
        close_site_configure(&site, NULL, NULL, "state_dir = other");
        standin_forget(site.site.standin);
        CU_ASSERT(temporary_directory(site.site.directory, "other"));
        char path[PATH_SIZE];
        path_join(path, site.site.directory, "other");
        CU_ASSERT_EQUAL(chmod(path, 0700), 0);
        CU_ASSERT(close_site_start_program(&site));
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "backfill", "--since", "1h"), 0);
        CU_ASSERT(standin_wait_messages(site.site.standin, 1, 60000));
        const struct standin_message *second = standin_message(site.site.standin, 0);
        check(webhook != NULL && second != NULL && slice_equal(second->json, slice_of(webhook)),
              "the same bytes:\n%s\n%.*s", webhook, second == NULL ? 0 : (int)second->json.length,
              second == NULL ? "" : second->json.at);
        free(webhook);
    }
    close_site_close(&site);
}

static CU_TestInfo tests[] = {
    {"one key for all", one_key_for_all},
    {"a key that is on its way is not missing", a_key_that_is_on_its_way_is_not_missing},
    {"a wrong URL is refused", a_wrong_url_is_refused},
    {"the source is found by the id", the_source_is_found_by_the_id},
    {"an interrupted rotation goes on", an_interrupted_rotation_goes_on},
    {"a resume without an answer leaves no pause", a_resume_without_an_answer_leaves_no_pause},
    {"lacking types are told and added", lacking_types_are_told_and_added},
    {"webhook and Event Log give the same message", both_ways_give_the_same_message},
    CU_TEST_INFO_NULL,
};

void suite_close_subscribe(void)
{
    suite_add("close subscribe", NULL, NULL, tests);
}

void suite_close_subscribe_postgresql(void)
{
    suite_add("close subscribe postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}
