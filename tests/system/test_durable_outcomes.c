/* Whatever the data plane does, under load: nothing is lost, a lead's events keep their order, back-off is as designed,
 * it recovers by itself, and one source's trouble is no other's. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/event.h"
#include "tests/support/signature.h"

#define EVENTS 400
#define FAULT_MS 800
#define ROUNDED_MS 60       /* the log tells tenths of a second */
#define ANSWERED_MS 15000   /* Close waits no longer */
#define OPERATORS_MS 300000 /* a source whose data plane refuses everything is not tried before */

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- under load ---- */

struct row {
    const char *name;
    struct standin_fault fault;
    bool away;  /* instead: no data plane at all */
    bool twice; /* messages may be stored that are sent again */
};

static const struct row rows[] = {
    {.name = "away", .away = true},
    {.name = "500", .fault = {.act = STANDIN_ANSWER, .status = 500, .body = "database is away"}},
    {.name = "429, Retry-After", .fault = {.act = STANDIN_ANSWER, .status = 429, .retry_after = "2"}},
    {.name = "hanging", .fault = {.act = STANDIN_HOLD}},
    {.name = "cutting", .fault = {.act = STANDIN_CUT}},
    {.name = "cutting mid-answer", .fault = {.act = STANDIN_HALF}, .twice = true},
    {.name = "storing, then cutting", .fault = {.act = STANDIN_STORE_CUT}, .twice = true},
};

/* The log says once that the data plane answers again, if it did not for long; twice where an answer of before came
 * late.
 */
static void check_told(const struct site *site, const struct row *row)
{
    size_t again = site_count_logged(site, "msg=data_plane_answers_again");
    bool long_away = row->fault.retry_after != NULL;
    check(again <= 2 && (again >= 1 || !long_away), "%s: that it answers again is said %zu times", row->name, again);
}

/* Answers go out at once while the data plane is in trouble, and afterwards all arrives, in order. */
static void pass_row(const struct row *row)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        struct load_options options = durable_load(&site);
        struct standin_fault fault = row->fault;
        fault.times = STANDIN_ALWAYS;
        options.count = durable_share(EVENTS);
        options.connections = 8;
        options.ordered = true;
        if (row->away)
            site_standin_down(&site);
        else
            standin_fail(site.standin, &fault);
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        check(result.ok == result.sent, "%s: %zu of %zu are answered 200", row->name, result.ok, result.sent);
        check(result.slowest < durable_patience(ANSWERED_MS), "%s: nobody waits for it (%lld ms)", row->name,
              (long long)result.slowest);
        poll(NULL, 0, FAULT_MS);
        check(durable_counts(&site, "alpha").waiting > 0, "%s: events wait", row->name);
        if (row->away)
            site_standin_up(&site);
        else
            standin_heal(site.standin);
        check(durable_wait_empty(&site, durable_patience(60000)), "%s: it recovers by itself", row->name);
        durable_check_delivered(&site, load, result);
        check(load_count_disordered(load, site.standin) == 0, "%s: each lead's order is kept", row->name);
        check(row->twice || standin_counts(site.standin).repeated == 0, "%s: nothing is stored twice", row->name);
        check_told(&site, row);
        CU_ASSERT_EQUAL(durable_counts(&site, "alpha").dead, 0);
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void all_arrives_in_order(void)
{
    for (size_t i = 0; i < COUNT(rows); i++) {
        printf("\n    %s ", rows[i].name);
        pass_row(&rows[i]);
    }
}

/* ---- back-off: as chosen, by the log, and as waited for, by the stand-in's clock ---- */

/* A source's trouble for some requests, and between which bounds the delays after each must lie. */
static const struct {
    const char *source, *write_key, *signature_key;
    struct standin_fault fault;
    int64_t least, most; /* of the first delay; most doubles with each */
} delays[] = {
    {"alpha", ALPHA_WRITE_KEY, ALPHA_SIGNATURE_KEY, {.status = 500, .body = "no"}, 40, 1000},
    {"beta", BETA_WRITE_KEY, BETA_SIGNATURE_KEY, {.status = 429, .retry_after = "2"}, 2000, 2000},
};
#define FAILURES 4

static void send_event(struct site *site, const char *source, const char *signature_key, const char *id)
{
    char url[160];
    struct event_text event = {.body = {.data = NULL}};
    struct client_answer answer;
    snprintf(url, sizeof url, "%s/%s", site->url, source);
    event_make(&event, &(struct event_options){.id = id, .lead = "lead_1"});
    struct signature signature = signature_make(signature_key, event_body(&event), 0);
    struct client_request request = {
        .url = url, .headers = {signature.hash, signature.timestamp}, .body = event_body(&event)};
    check(client_send(site->client, &request, &answer) == 200, "%s is answered 200", id);
    event_free(&event);
}

/* The delay that the program has chosen after so many tries of the source's only event. -1: the log has none. */
static int64_t chosen_delay(const struct site *site, const char *source, size_t tries)
{
    char words[128];
    snprintf(words, sizeof words, "msg=not_delivered source=%s events=1 tries=%zu next_seconds=", source, tries);
    char *log = temporary_read(site->directory, "program.log");
    const char *at = log == NULL ? NULL : strstr(log, words);
    double seconds = at == NULL ? -0.001 : strtod(at + strlen(words), NULL);
    free(log);
    return (int64_t)(seconds * 1000);
}

static void check_delays(struct site *site, size_t i)
{
    moment at[FAILURES + 1];
    int64_t most = delays[i].most;
    size_t requests = standin_arrivals(site->standin, delays[i].write_key, at, FAILURES + 1);
    if (!check(requests == FAILURES + 1, "%s: %zu requests come", delays[i].source, requests))
        return;
    for (size_t j = 0; j < FAILURES; j++, most *= delays[i].fault.retry_after == NULL ? 2 : 1) {
        int64_t delay = at[j + 1] - at[j], chosen = chosen_delay(site, delays[i].source, j + 1);
        printf("%s%lld", j == 0 ? "(" : " ", (long long)delay);
        check(chosen >= delays[i].least - ROUNDED_MS && chosen <= most + ROUNDED_MS,
              "%s: delay %zu is to be %lld ms, between %lld and %lld", delays[i].source, j + 1, (long long)chosen,
              (long long)delays[i].least, (long long)most);
        check(delay >= delays[i].least && delay >= chosen - ROUNDED_MS, "%s: delay %zu was %lld ms, not %lld",
              delays[i].source, j + 1, (long long)delay, (long long)chosen);
    }
    printf(" ms) ");
}

static void backs_off_as_designed(void)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, "lanes = 1")) {
        for (size_t i = 0; i < COUNT(delays); i++) {
            struct standin_fault fault = delays[i].fault;
            fault.act = STANDIN_ANSWER;
            fault.times = FAILURES;
            fault.write_key = delays[i].write_key;
            standin_fail(site.standin, &fault);
            send_event(&site, delays[i].source, delays[i].signature_key, delays[i].source);
        }
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        for (size_t i = 0; i < COUNT(delays); i++)
            check_delays(&site, i);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* A restart, and cron, go on where the last process was. */
static void a_restart_and_cron_do_not_start_over(void)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, "lanes = 1")) {
        moment at[8];
        standin_fail(site.standin,
                     &(struct standin_fault){.act = STANDIN_ANSWER, .times = 1, .status = 503, .retry_after = "5"});
        send_event(&site, "alpha", ALPHA_SIGNATURE_KEY, "ev_1");
        CU_ASSERT(site_wait_logged(&site, "msg=not_delivered", 1, durable_patience(60000)));
        CU_ASSERT_EQUAL(process_stop(&site.program, durable_patience(60000)), 0);
        durable_command(&site, "cron", NULL); /* it has nothing to do, unless the pause is over on a slow machine */
        CU_ASSERT(site_spawn(&site));
        send_event(&site, "alpha", ALPHA_SIGNATURE_KEY, "ev_2"); /* what is new waits behind it */
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        size_t requests = standin_arrivals(site.standin, NULL, at, 8);
        CU_ASSERT_FATAL(requests == 2 || requests == 3); /* ev_2 comes alone where the pause was over before it */
        printf("(%lld ms) ", (long long)(at[1] - at[0]));
        check(at[1] - at[0] >= 4900, "the second request comes %lld ms after the first", (long long)(at[1] - at[0]));
        CU_ASSERT_EQUAL(standin_counts(site.standin).messages, 2);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* ---- the operator must act ---- */

/* Until the program has looked at the mended file there is no delivery, after it there is, and nothing was lost. */
static void a_wrong_write_key_mended_in_the_file(void)
{
    static const char wrong[] = "data_plane_url = http://127.0.0.1:%u\n"
                                "%s"
                                "[source alpha]\nwrite_key = wrong\nsignature_key = " ALPHA_SIGNATURE_KEY "\n";
    struct site site;
    char text[1024];
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        int length = snprintf(text, sizeof text, wrong, site.standin_port, durable_queue_lines());
        CU_ASSERT(temporary_write(site.directory, "closecrm.conf", 0600, text, (size_t)length));
        CU_ASSERT(durable_start_anew(&site, NULL));
        struct load_options options = durable_load(&site);
        options.count = durable_share(EVENTS);
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        CU_ASSERT_EQUAL(result.ok, result.sent);
        CU_ASSERT(site_wait_logged(&site, "invalid write key", 1, durable_patience(60000)));
        CU_ASSERT(site_count_logged(&site, "check write_key") > 0);
        size_t tried = standin_counts(site.standin).requests;
        check(tried <= 8, "it is not tried again and again: %zu requests", tried);
        CU_ASSERT_EQUAL(durable_counts(&site, "alpha").waiting, result.ok);
        durable_configure(&site, NULL); /* as before; the program finds it by itself */
        CU_ASSERT(durable_wait_empty(&site, durable_patience(60000)));
        durable_check_delivered(&site, load, result);
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* One source is refused; the other's events leave as if nothing were. */
static void one_source_refused_does_not_slow_another(void)
{
    struct site site;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        char url[160];
        standin_fail(site.standin, &(struct standin_fault){.act = STANDIN_ANSWER,
                                                           .times = STANDIN_ALWAYS,
                                                           .write_key = BETA_WRITE_KEY,
                                                           .status = 401,
                                                           .body = "invalid write key"});
        snprintf(url, sizeof url, "%s/beta", site.url);
        struct load_options refused = durable_load(&site), healthy = refused;
        refused.url = url;
        refused.signature_key = BETA_SIGNATURE_KEY;
        refused.prefix = "beta";
        refused.count = durable_share(2000);
        healthy.count = durable_share(500);
        healthy.connections = 2;
        healthy.pause_ms = 2;
        struct load *loads[] = {load_start(&refused), load_start(&healthy)};
        for (size_t i = 0; i < 2; i++) {
            struct load_result result = load_finish(loads[i]);
            CU_ASSERT_EQUAL(result.ok, result.sent);
        }
        CU_ASSERT(standin_wait_messages(site.standin, healthy.count, durable_patience(60000)));
        int64_t delay = load_median_delay(loads[1], site.standin);
        printf("(median %lld ms) ", (long long)delay);
        check(delay < OPERATORS_MS / 10, "the healthy source's events leave at once: %lld ms", (long long)delay);
        CU_ASSERT_EQUAL(load_count_arrived(loads[1], site.standin, 1), healthy.count);
        CU_ASSERT_EQUAL(durable_counts(&site, "beta").waiting, refused.count);
        for (size_t i = 0; i < 2; i++)
            load_free(loads[i]);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static CU_TestInfo tests[] = {
    {"whatever the data plane does, all arrives in order", all_arrives_in_order},
    {"back-off as designed", backs_off_as_designed},
    {"a restart and cron do not start over", a_restart_and_cron_do_not_start_over},
    {"a wrong write key, mended in the file", a_wrong_write_key_mended_in_the_file},
    {"one source refused does not slow another", one_source_refused_does_not_slow_another},
    CU_TEST_INFO_NULL,
};

void suite_durable_outcomes_postgresql(void)
{
    suite_add("durable outcomes postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}

void suite_durable_outcomes(void)
{
    suite_add("durable outcomes", NULL, NULL, tests);
}
