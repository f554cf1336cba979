/* Plain CGI with the durable queue: the answer comes before the data plane's, a child delivers, and where that is
 * killed, cron does. And cron's own ways. */
#include "tests/suites.h"

#include <CUnit/CUnit.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/load.h"
#include "tests/support/running.h"
#include "tests/support/site.h"

#define SOON_MS 60000

static const struct setup setups[] = {
    {.name = "lighttpd, CGI", .server = "lighttpd", .sample = "cgi.conf", .mount = "/closecrm"},
    {.name = "Apache, mod_cgi", .server = "apache2", .sample = "cgi.conf", .mount = "/closecrm", .prefork = true},
    {.name = "Apache, mod_cgid", .server = "apache2", .sample = "cgi.conf", .mount = "/closecrm"},
};

/* The data plane hangs: only the answer of who does not wait for it comes. */
static void check_answer_comes_first(const struct setup *setup)
{
    struct site site;
    if (site_open(&site, setup, NULL)) {
        standin_fail(site.standin, &(struct standin_fault){.act = STANDIN_HOLD, .times = STANDIN_ALWAYS});
        moment start = clock_now();
        struct client_answer answer = site_send(&site, "ev_1");
        check(answer.status == 200 && answer.complete, "%s: 200, not %d %s", setup->name, answer.status, answer.body);
        check(clock_now() - start < SOON_MS / 2, "%s: the server waits for nobody", setup->name);
        check(standin_wait_held(site.standin, 1, SOON_MS), "%s: a child forwards", setup->name);
        check(standin_counts(site.standin).messages == 0, "%s: it was answered before", setup->name);
        standin_heal(site.standin);
        check(standin_wait_messages(site.standin, 1, SOON_MS), "%s: the child delivers", setup->name);
        check(programs_wait_gone(&site, SOON_MS), "%s: the child ends", setup->name);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void the_answer_comes_first(void)
{
    for (size_t i = 0; i < sizeof setups / sizeof *setups; i++)
        check_answer_comes_first(&setups[i]);
}

/* Who looks for the reason cannot read the web server's log. */
static void a_refused_request_says_where_the_reason_is(void)
{
    struct site site;
    if (site_open(&site, &setups[0], NULL)) {
        site_configure(&site, "no_such_key = 1");
        struct client_answer answer = site_send(&site, "ev_1");
        CU_ASSERT_EQUAL(answer.status, 503);
        check(strstr(answer.body, "the configuration is faulty: last-errors.txt (in state_dir, or beside the "
                                  "configuration) says where") != NULL,
              "it names the file: %s", answer.body);
        CU_ASSERT_PTR_NULL(strstr(answer.body, site.directory));
        char *all = NULL;
        for (moment deadline = clock_now() + SOON_MS; all == NULL && clock_now() < deadline; poll(NULL, 0, 20))
            all = temporary_read(site.directory, "last-errors.txt"); /* it is written after the answer */
        check(all != NULL && strstr(all, "Z 1 error msg=cannot_start ") != NULL && strstr(all, "no_such_key") != NULL,
              "beside the configuration: %s", all == NULL ? "" : all);
        free(all);
    }
    site_close(&site);
}

static void check_all_arrive(const struct setup *setup)
{
    struct site site;
    if (site_open(&site, setup, NULL)) {
        struct load_options options = {.url = site.url,
                                       .signature_key = ALPHA_SIGNATURE_KEY,
                                       .prefix = "ev",
                                       .count = durable_share(200),
                                       .connections = 8,
                                       .marked = LOAD_NONE};
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        check(result.ok == options.count, "%s: %zu are answered 200", setup->name, result.ok);
        check(standin_wait_messages(site.standin, options.count, SOON_MS), "%s: all arrive without cron", setup->name);
        check(programs_wait_gone(&site, SOON_MS), "%s: the children end", setup->name);
        check(load_count_arrived(load, site.standin, 1) == options.count, "%s: each once", setup->name);
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void all_arrive_by_children_alone(void)
{
    for (size_t i = 0; i < sizeof setups / sizeof *setups; i++)
        check_all_arrive(&setups[i]);
}

/* An event of the source that has no signature key. Returns the status. */
static int send_open(const struct site *site, const char *id)
{
    char url[200], body[128];
    struct client_answer answer;
    snprintf(url, sizeof url, "%s/open?writeKey=" OPEN_WRITE_KEY, site->url);
    snprintf(body, sizeof body, "{\"event\":{\"id\":\"%s\",\"object_type\":\"lead\",\"action\":\"updated\"}}", id);
    return client_send(site->client, &(struct client_request){.url = url, .body = slice_of(body)}, &answer);
}

/* A host may kill whatever a request leaves behind. */
static void where_the_child_is_killed_cron_delivers(void)
{
    struct site site;
    if (site_open(&site, &setups[1], NULL)) {
        standin_fail(site.standin, &(struct standin_fault){.act = STANDIN_HOLD, .times = STANDIN_ALWAYS});
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        CU_ASSERT(standin_wait_held(site.standin, 1, SOON_MS));
        CU_ASSERT(programs_kill(&site) > 0);
        CU_ASSERT(programs_wait_gone(&site, SOON_MS));
        site_standin_down(&site);
        CU_ASSERT(site_standin_up(&site));

        struct output output = command_output(&site, "cron", NULL);
        CU_ASSERT_EQUAL(output.code, 0);
        CU_ASSERT_STRING_EQUAL(output.text, "");
        CU_ASSERT_EQUAL(standin_counts(site.standin).messages, 1);
        CU_ASSERT_PTR_NOT_NULL(standin_find(site.standin, "ev_1"));
        output = command_output(&site, "cron", NULL);
        CU_ASSERT_EQUAL(output.code, 0);
        CU_ASSERT_EQUAL(standin_counts(site.standin).messages, 1);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* A source whose data plane is slow, but steady, keeps cron for a quarter of an hour. Others are forwarded meanwhile,
 * also what comes then; the next cron has nothing to say about it. */
static void a_slow_source_holds_up_nobody(void)
{
    struct site site;
    if (site_open(&site, &setups[1], "shutdown_grace = 1s")) {
        struct process cron = {0};
        struct standin_fault slow = {.act = STANDIN_HOLD, .times = STANDIN_ALWAYS, .write_key = ALPHA_WRITE_KEY};
        standin_fail(site.standin, &slow);
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        CU_ASSERT(standin_wait_held(site.standin, 1, SOON_MS));
        CU_ASSERT(programs_kill(&site) > 0); /* the child has more time than the test */
        CU_ASSERT(programs_wait_gone(&site, SOON_MS));
        site_standin_down(&site);
        CU_ASSERT(site_standin_up(&site));
        standin_fail(site.standin, &slow);

        const char *const arguments[] = {"cron", "--seconds", "1", NULL};
        CU_ASSERT(command_start_words(&cron, &site, "cron.log", arguments));
        CU_ASSERT(standin_wait_held(site.standin, 1, SOON_MS));
        poll(NULL, 0, 1000); /* its time is over */
        CU_ASSERT_EQUAL(send_open(&site, "ev_2"), 200);
        CU_ASSERT(standin_wait_messages(site.standin, 1, SOON_MS));
        CU_ASSERT_PTR_NOT_NULL(standin_find(site.standin, "ev_2"));
        struct output output = command_output(&site, "cron", NULL);
        CU_ASSERT_EQUAL(output.code, 0);
        CU_ASSERT_STRING_EQUAL(output.text, "");
        standin_heal(site.standin);
        output = command_finish(&cron, &site, "cron.log");
        CU_ASSERT_EQUAL(output.code, 0);
        CU_ASSERT_STRING_EQUAL(output.text, "");
        CU_ASSERT_EQUAL(standin_counts(site.standin).messages, 2);
        CU_ASSERT_PTR_NOT_NULL(standin_find(site.standin, "ev_1"));
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* A person looks at the address while nothing can be delivered: nobody is left behind. */
static void a_get_leaves_no_child(void)
{
    struct site site;
    char url[160];
    if (site_open(&site, &setups[1], NULL)) {
        snprintf(url, sizeof url, "%s/alpha", site.url);
        struct client_answer answer;
        for (int i = 0; i < 5; i++)
            CU_ASSERT_EQUAL(client_send(site.client, &(struct client_request){.method = "GET", .url = url}, &answer),
                            405);
        CU_ASSERT(programs_wait_gone(&site, SOON_MS));
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

void suite_life_cgi(void)
{
    static CU_TestInfo tests[] = {
        {"a refused request says where the reason is", a_refused_request_says_where_the_reason_is},
        {"the answer comes before the data plane's", the_answer_comes_first},
        {"events over 8 connections arrive by children alone", all_arrive_by_children_alone},
        {"where the child is killed cron delivers", where_the_child_is_killed_cron_delivers},
        {"a slow source holds up nobody", a_slow_source_holds_up_nobody},
        {"a GET is answered, and leaves no child", a_get_leaves_no_child},
        CU_TEST_INFO_NULL,
    };
    suite_add("life: CGI", NULL, NULL, tests);
}
