/* What the webhook did not bring, the Event Log does; against the stand-in Close and through real web servers. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "tests/support/check.h"
#include "tests/support/close_site.h"
#include "tests/support/durable.h"

#define MINUTE INT64_C(60000)
#define HOUR (60 * MINUTE)
#define LONG_MS (4 * MINUTE) /* for thousands of events, on a busy machine */

static const struct standin_close_options usual = {.retry_ms = 20, .failures_most = 30};

static const char *name_event(char id[static 40], size_t i)
{
    snprintf(id, 40, "ev_%zu", i);
    return id;
}

/* Events first, first+1, ... of 7 leads. */
static void add_events(struct close_site *site, size_t first, size_t count, bool lost)
{
    for (size_t i = first; i < first + count; i++) {
        char id[40], lead[40];
        snprintf(lead, sizeof lead, "lead_%zu", i % 7);
        standin_close_add(site->close, &(struct close_event){.id = name_event(id, i), .lead = lead, .log_only = lost});
    }
}

static size_t count_arrived(struct close_site *site, size_t count, const char *subscription)
{
    size_t arrived = 0;
    for (size_t i = 0; i < count; i++) {
        char id[40];
        arrived += close_site_arrived(site, name_event(id, i), subscription);
    }
    return arrived;
}

/* Whether the events from first on arrived in order, lead by lead. */
static size_t count_disorder(struct close_site *site, size_t first)
{
    size_t last[7] = {0}, disorder = 0;
    const struct standin_message *message;
    for (size_t i = 0; (message = standin_message(site->site.standin, i)) != NULL; i++) {
        size_t number = strtoul(message->message_id + 3, NULL, 10);
        if (number < first)
            continue;
        disorder += number < last[number % 7];
        last[number % 7] = number;
    }
    return disorder;
}

static bool subscribe(struct close_site *site, char id[static 80])
{
    bool good = CLOSE_RUN(site, "subscribe", "--url", close_site_url(site)) == 0;
    standin_close_id(site->close, 0, id);
    return check(good && id[0] != '\0', "subscribed: %s", site->said);
}

/* The handler stopped, and Close pauses the subscription and drops what waits. */
static void what_a_pause_cleared_arrives(void)
{
    struct close_site site;
    char id[80];
    const size_t all = 5000, lost = 500;
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL) && subscribe(&site, id)) {
        add_events(&site, 0, all - lost, false);
        CU_ASSERT(standin_close_wait_idle(site.close, LONG_MS));
        close_site_stop_program(&site);
        add_events(&site, all - lost, lost, false);
        CU_ASSERT(standin_close_wait_paused(site.close, 0, LONG_MS));
        CU_ASSERT(standin_close_wait_idle(site.close, LONG_MS));
        CU_ASSERT(close_site_start_program(&site));
        CU_ASSERT(standin_wait_messages(site.site.standin, all - lost, LONG_MS));

        /* it is shouted, and with the operator's word activated again */
        standin_close_move_clock(site.close, 6 * MINUTE);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile", "--json"), 1);
        CU_ASSERT(strstr(site.said, "\"missing\":500") != NULL);
        CU_ASSERT(close_site_advises(&site, "resume whsub_"));
        CU_ASSERT(standin_wait_messages(site.site.standin, all, LONG_MS));
        CU_ASSERT_EQUAL(count_arrived(&site, all, id), all);
        CU_ASSERT_EQUAL(standin_counts(site.site.standin).messages, all);
        CU_ASSERT_EQUAL(count_disorder(&site, all - lost), 0);

        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "resume", id), 0);
        CU_ASSERT(strstr(site.said, "0 were missing") != NULL);
        char status[80];
        CU_ASSERT_STRING_EQUAL(standin_close_status(site.close, 0, status), "active");

        /* a second run adds nothing */
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile", "--json"), 0);
        CU_ASSERT(strstr(site.said, "\"missing\":0") != NULL && strstr(site.said, "\"trouble\":null") != NULL);
        CU_ASSERT_EQUAL(standin_counts(site.site.standin).messages, all);
    }
    close_site_close(&site);
}

static void a_paused_one_is_activated_by_itself(void)
{
    struct close_site site;
    char id[80], status[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, "auto_resume = yes") && subscribe(&site, id)) {
        standin_close_pause(site.close, 0, "permission_revoked");
        add_events(&site, 0, 20, false);
        standin_close_move_clock(site.close, 6 * MINUTE);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 1);
        CU_ASSERT(strstr(site.said, "permission_revoked") != NULL);
        CU_ASSERT_STRING_EQUAL(standin_close_status(site.close, 0, status), "active");
        CU_ASSERT(standin_wait_messages(site.site.standin, 20, 60000));
        CU_ASSERT_EQUAL(count_arrived(&site, 20, id), 20);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 0);

        /* but not what we paused ourselves */
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "pause", id), 0);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 0);
        CU_ASSERT_STRING_EQUAL(standin_close_status(site.close, 0, status), "paused");
        add_events(&site, 20, 5, false);
        standin_close_move_clock(site.close, 6 * MINUTE);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "resume", id), 0);
        CU_ASSERT_STRING_EQUAL(standin_close_status(site.close, 0, status), "active");
        CU_ASSERT(standin_wait_messages(site.site.standin, 25, 60000));
    }
    close_site_close(&site);
}

/* The sample raises mod_fcgid's limit, which many hosts do not let one do: takes that away, and reloads Apache. */
static void use_default_limit(struct close_site *site)
{
    char *sample = temporary_read(site->site.directory, "sample.conf");
    char *limit = sample == NULL ? NULL : strstr(sample, "\nFcgidMaxRequestLen");
    CU_ASSERT_PTR_NOT_NULL(limit);
    if (limit == NULL)
        return;
    memset(limit + 1, '#', strcspn(limit + 1, "\n"));
    CU_ASSERT(temporary_write(site->site.directory, "sample.conf", 0644, sample, strlen(sample)));
    free(sample);
    kill(site->site.server.pid, SIGHUP);
    bool again = false;
    for (moment deadline = clock_now() + 60000; !again && clock_now() < deadline; poll(NULL, 0, 20)) {
        char *log = temporary_read(site->site.directory, "apache.log");
        char *first = log == NULL ? NULL : strstr(log, "resuming normal operations");
        again = first != NULL && strstr(first + 1, "resuming normal operations") != NULL;
        free(log);
    }
    check(again, "Apache is reloaded");
}

/* mod_fcgid takes 128 KiB unless it is told otherwise. */
static void what_the_web_server_refuses_arrives(void)
{
    static const struct setup fcgid = {
        .name = "Apache, mod_fcgid, its own limit", .server = "apache2", .sample = "fcgid.conf", .mount = "/closecrm"};
    struct close_site site;
    char id[80];
    if (close_site_open(&site, &fcgid, &usual, NULL) && subscribe(&site, id)) {
        use_default_limit(&site);
        for (size_t i = 0; i < 20; i++) {
            char name[40];
            standin_close_add(site.close, &(struct close_event){.id = name_event(name, i),
                                                                .lead = "lead_1",
                                                                .object_type = "activity.email",
                                                                .filler = i % 4 == 3 ? 200000 : 500});
        }
        CU_ASSERT(standin_wait_messages(site.site.standin, 15, 60000));
        standin_close_move_clock(site.close, 6 * MINUTE);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 0);
        CU_ASSERT(strstr(site.said, "5 were missing") != NULL && strstr(site.said, "5 of them are larger") != NULL);
        CU_ASSERT(standin_wait_messages(site.site.standin, 20, 60000));
        CU_ASSERT_EQUAL(count_arrived(&site, 20, id), 20);
    }
    close_site_close(&site);
}

/* An event that Close merged later changes into comes with its newest state. */
static void merged_events_bring_the_newest_state(void)
{
    struct close_site site;
    char id[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL) && subscribe(&site, id)) {
        standin_close_add(site.close, &(struct close_event){.id = "ev_0", .lead = "lead_0", .note = "old"});
        CU_ASSERT(standin_wait_messages(site.site.standin, 1, 60000));
        standin_close_move_clock(site.close, 1000);
        standin_close_add(site.close,
                          &(struct close_event){.id = "ev_0", .lead = "lead_0", .note = "new", .log_only = true});
        standin_close_move_clock(site.close, 6 * MINUTE);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 0);
        CU_ASSERT(standin_wait_messages(site.site.standin, 2, 60000));
        const struct standin_message *message = standin_message(site.site.standin, 1);
        CU_ASSERT(message != NULL && slice_contains(message->json, "\"new\"") &&
                  strcmp(message->message_id, "ev_0") != 0);
    }
    close_site_close(&site);
}

/* What appears late in the log is found by the second reading, a day after. */
static void late_events_are_found_a_day_after(void)
{
    struct close_site site;
    char id[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL) && subscribe(&site, id)) {
        int64_t then = standin_close_now_us(site.close) + MINUTE * 1000;
        standin_close_move_clock(site.close, HOUR);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 0);
        standin_close_add(site.close, &(struct close_event){.id = "ev_0", .updated_us = then, .log_only = true});
        standin_close_move_clock(site.close, HOUR);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 0);
        CU_ASSERT_EQUAL(standin_counts(site.site.standin).messages, 0);
        standin_close_move_clock(site.close, 24 * HOUR);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile", "--json"), 0);
        CU_ASSERT(strstr(site.said, "\"missing_late\":1") != NULL);
        CU_ASSERT(standin_wait_messages(site.site.standin, 1, 60000));
    }
    close_site_close(&site);
}

/* "complete until" is claimed only for what was read to its end. */
static void a_failed_read_claims_nothing(void)
{
    struct close_site site;
    char id[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL) && subscribe(&site, id)) {
        standin_close_move_clock(site.close, HOUR);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile", "--json"), 0);
        char *before = strstr(site.said, "\"complete_until\":\"");
        char until[60] = "";
        CU_ASSERT_PTR_NOT_NULL(before);
        snprintf(until, sizeof until, "%.45s", before == NULL ? "" : before);
        add_events(&site, 0, 10, true);
        standin_close_move_clock(site.close, HOUR);
        /* an error body has no data, a web page is no answer, and 403 says nothing about the log */
        static const struct close_fault faults[] = {
            {"GET /event", CLOSE_ANSWER, 99, 200, "{\"error\": \"sorry\", \"cursor_next\": null}"},
            {"GET /event", CLOSE_ANSWER, 99, 200, "<html></html>"},
            {"GET /event", CLOSE_ANSWER, 99, 200, "{\"data\": []}"},
            {"GET /event", CLOSE_ANSWER, 99, 403, "{}"},
        };
        for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
            standin_close_fail(site.close, &faults[i]);
            check(CLOSE_RUN(&site, "reconcile") == 1, "fault %zu: exit code 1", i);
            standin_close_heal(site.close);
        }
        char *state = temporary_read(site.site.directory, "state/closeapi/default/reconcile");
        CU_ASSERT(state != NULL && strstr(state, "missed = 0\n") != NULL);
        free(state);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile", "--json"), 0);
        CU_ASSERT(strstr(site.said, "\"missing\":10") != NULL && strstr(site.said, until) == NULL);
        CU_ASSERT(standin_wait_messages(site.site.standin, 10, 60000));
    }
    close_site_close(&site);
}

static void prepare_gap(struct close_site *site)
{
    add_events(site, 0, 30, true);
    standin_close_move_clock(site->close, 6 * MINUTE);
    close_site_stop_program(site);
    site->reconciles = true;
    close_site_configure(site, NULL, NULL, NULL);
}

static void the_program_reconciles_by_itself(void)
{
    struct close_site site;
    char id[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL) && subscribe(&site, id)) {
        prepare_gap(&site);
        CU_ASSERT(close_site_start_program(&site));
        CU_ASSERT(standin_wait_messages(site.site.standin, 30, 60000));
        CU_ASSERT_EQUAL(count_arrived(&site, 30, id), 30);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "queue", "status", "--json"), 0);
        CU_ASSERT(strstr(site.said, "\"complete_until\":\"2") != NULL);
        CU_ASSERT(strstr(site.said, "\"missed_by_webhook\":30") != NULL);
        CU_ASSERT_EQUAL(site_count_logged(&site.site, "why=not_delivered"), 1);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "queue", "status"), 0);
        CU_ASSERT(strstr(site.said, "complete from 2") != NULL);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "check"), 0);
        CU_ASSERT(strstr(site.said, "Close: ok: the API key is good, 1 subscription; complete from 2") != NULL);
        CU_ASSERT(strstr(site.said, "  address for Close: http://") != NULL);
        standin_close_pause(site.close, 0, "too_many_events");
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "check"), 1);
        CU_ASSERT(strstr(site.said, "is paused for too_many_events") != NULL &&
                  strstr(site.said, CLOSE_API_KEY) == NULL);
    }
    close_site_close(&site);
}

/* It stops at once in the middle of a request, not after its time to finish, and what was in hand is read again. */
static void a_stop_cuts_reconciling_short(void)
{
    struct close_site site;
    char id[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, "shutdown_grace = 50s") && subscribe(&site, id)) {
        prepare_gap(&site);
        standin_close_fail(site.close, &(struct close_fault){"GET /event", CLOSE_HOLD, 1, 0, NULL});
        CU_ASSERT(close_site_start_program(&site));
        CU_ASSERT(standin_close_wait_held(site.close, 60000));
        moment before = clock_now();
        close_site_stop_program(&site);
        check(clock_now() - before < 25000, "it has stopped after %lld ms", (long long)(clock_now() - before));
        standin_close_heal(site.close);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile", "--json"), 0);
        CU_ASSERT(strstr(site.said, "\"missing\":30") != NULL);
        CU_ASSERT(close_site_start_program(&site));
        CU_ASSERT(standin_wait_messages(site.site.standin, 30, 60000));
    }
    close_site_close(&site);
}

/* Where no process of the program is there, cron does it all. */
static void cron_reconciles_what_is_due(void)
{
    struct close_site site;
    char id[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL) && subscribe(&site, id)) {
        prepare_gap(&site);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "cron"), 0);
        CU_ASSERT_STRING_EQUAL(site.said, "");
        CU_ASSERT_EQUAL(count_arrived(&site, 30, id), 30);
        size_t requests = standin_close_counts(site.close).requests;
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "cron"), 0);
        CU_ASSERT_EQUAL(standin_close_counts(site.close).requests, requests); /* it is not due again */
        CU_ASSERT(close_site_start_program(&site));
    }
    close_site_close(&site);
}

/* Ctrl-Z on a `reconcile`: nobody else can, and all say who is in the way and how it goes on. */
static void one_that_was_stopped_is_named(void)
{
    struct close_site site;
    char id[80], advice[64];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL) && subscribe(&site, id)) {
        static const char *const arguments[] = {"reconcile", NULL};
        struct process process = {0};
        int status = -1;
        prepare_gap(&site);
        standin_close_fail(site.close, &(struct close_fault){"GET /event", CLOSE_HOLD, 1, 0, NULL});
        CU_ASSERT(close_site_start(&site, &process, arguments));
        CU_ASSERT(standin_close_wait_held(site.close, 60000));
        CU_ASSERT_EQUAL(kill(process.pid, SIGSTOP), 0);
        snprintf(advice, sizeof advice, "`kill -CONT %d` lets it go on", (int)process.pid);
        static const char *const commands[] = {"check", "cron", "reconcile"};
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
            check(CLOSE_RUN(&site, commands[i]) == 1, "%s: exit code 1", commands[i]);
            check(strstr(site.said, advice) != NULL, "%s says %s: %s", commands[i], advice, site.said);
        }
        CU_ASSERT(close_site_start_program(&site));
        CU_ASSERT(site_wait_logged(&site.site, "msg=not_reconciled", 1, 60000));
        CU_ASSERT_EQUAL(site_count_logged(&site.site, advice), 1);
        CU_ASSERT_EQUAL(kill(process.pid, SIGCONT), 0);
        standin_close_heal(site.close);
        CU_ASSERT(process_wait(&process, 60000, &status));
        CU_ASSERT_EQUAL(status, 0);
        CU_ASSERT(standin_wait_messages(site.site.standin, 30, 60000));
    }
    close_site_close(&site);
}

/* At the first start, or after a long downtime, several processes begin at once: that one of them reconciles is no
 * alarm of the others. */
static void one_that_is_at_it_is_no_alarm(void)
{
    struct close_site site;
    char id[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL) && subscribe(&site, id)) {
        prepare_gap(&site);
        standin_close_fail(site.close, &(struct close_fault){"GET /event", CLOSE_HOLD, 1, 0, NULL});
        site.site.wrapper = durable_many("2");
        CU_ASSERT(close_site_start_program(&site));
        CU_ASSERT(standin_close_wait_held(site.close, 60000));
        CU_ASSERT(site_wait_logged(&site.site, "msg=started", 3, 60000)); /* one was there before */
        poll(NULL, 0, 200);
        CU_ASSERT_EQUAL(site_count_logged(&site.site, "msg=not_reconciled"), 0);
        standin_close_heal(site.close);
        CU_ASSERT(standin_wait_messages(site.site.standin, 30, 60000));
    }
    close_site_close(&site);
}

/* A backlog that would take all of its time does not keep cron from reconciling. */
static void cron_reconciles_in_spite_of_a_backlog(void)
{
    static const char slowly[] = "deliver_rate = 2";
    struct close_site site;
    char id[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, slowly) && subscribe(&site, id)) {
        add_events(&site, 30, 20, false);
        CU_ASSERT(standin_close_wait_idle(site.close, 60000));
        prepare_gap(&site);
        close_site_configure(&site, NULL, NULL, slowly);
        CU_ASSERT_EQUAL(standin_close_counts(site.close).pages, 0);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "cron", "--seconds", "6"), 0);
        CU_ASSERT_STRING_EQUAL(site.said, "");
        CU_ASSERT(standin_close_counts(site.close).pages > 0);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "queue", "status", "--json"), 0);
        CU_ASSERT(strstr(site.said, "\"missed_by_webhook\":30") != NULL);
        CU_ASSERT(close_site_start_program(&site));
    }
    close_site_close(&site);
}

/* Under load: nothing is lost, nothing comes twice. */
static void a_rotation_loses_nothing(void)
{
    struct close_site site;
    char old[80], status[80];
    if (close_site_open(&site, &setup_lighttpd_spawn, &usual, NULL) && subscribe(&site, old)) {
        add_events(&site, 0, 300, false);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "rotate"), 0);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 2);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "rotate", "whsub_nosuch"), 1);
        CU_ASSERT(strstr(site.said, "no subscription whsub_nosuch") != NULL);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "rotate", old), 0);
        /* nothing has come from the new one, and the log was not read past it */
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 0);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 2);
        add_events(&site, 300, 300, false);
        CU_ASSERT(standin_close_wait_idle(site.close, 60000));
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "rotate"), 0);
        CU_ASSERT(strstr(site.said, "not reconciled past") != NULL);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 2);
        standin_close_move_clock(site.close, 6 * MINUTE);
        CU_ASSERT_EQUAL(CLOSE_RUN(&site, "reconcile"), 0);
        CU_ASSERT(strstr(site.said, "rotation is over") != NULL);
        CU_ASSERT_EQUAL(standin_close_subscriptions(site.close), 1);
        CU_ASSERT_EQUAL(close_site_keys(&site), 1);
        CU_ASSERT_STRING_EQUAL(standin_close_status(site.close, 0, status), "active");
        add_events(&site, 600, 300, false);
        CU_ASSERT(standin_close_wait_idle(site.close, 60000));
        CU_ASSERT(standin_wait_messages(site.site.standin, 900, 60000));
        CU_ASSERT_EQUAL(standin_counts(site.site.standin).messages, 900);
        CU_ASSERT_EQUAL(standin_close_counts(site.close).failed, 0);
    }
    close_site_close(&site);
}

static CU_TestInfo tests[] = {
    {"5,000 events, 500 of them cleared by a pause", what_a_pause_cleared_arrives},
    {"a paused subscription is activated by itself", a_paused_one_is_activated_by_itself},
    {"what mod_fcgid refuses arrives", what_the_web_server_refuses_arrives},
    {"merged events bring the newest state", merged_events_bring_the_newest_state},
    {"late events are found a day after", late_events_are_found_a_day_after},
    {"a failed read claims nothing", a_failed_read_claims_nothing},
    {"the program reconciles by itself", the_program_reconciles_by_itself},
    {"a stop cuts reconciling short", a_stop_cuts_reconciling_short},
    {"cron reconciles what is due", cron_reconciles_what_is_due},
    {"one that was stopped is named", one_that_was_stopped_is_named},
    {"one that is at it is no alarm", one_that_is_at_it_is_no_alarm},
    {"cron reconciles in spite of a backlog", cron_reconciles_in_spite_of_a_backlog},
    {"a rotation under load loses nothing", a_rotation_loses_nothing},
    CU_TEST_INFO_NULL,
};

void suite_close_reconcile(void)
{
    suite_add("close reconcile", NULL, NULL, tests);
}

void suite_close_reconcile_postgresql(void)
{
    suite_add("close reconcile postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}
