/* Plain CGI with the durable queue: the answer comes before the data plane's, a child delivers, and where that is
 * killed, cron does. And cron's own ways. */
#include "tests/suites.h"

#include <CUnit/CUnit.h>
#include <stdio.h>

#include "tests/system/check.h"
#include "tests/system/load.h"
#include "tests/system/running.h"
#include "tests/system/site.h"

#define SOON_MS 20000

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

static void check_all_arrive(const struct setup *setup)
{
    struct site site;
    if (site_open(&site, setup, NULL)) {
        struct load_options options = {.url = site.url,
                                       .signature_key = ALPHA_SIGNATURE_KEY,
                                       .prefix = "ev",
                                       .count = 200,
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
        {"the answer comes before the data plane's", the_answer_comes_first},
        {"200 events over 8 connections arrive by children alone", all_arrive_by_children_alone},
        {"where the child is killed cron delivers", where_the_child_is_killed_cron_delivers},
        {"a GET is answered, and leaves no child", a_get_leaves_no_child},
        CU_TEST_INFO_NULL,
    };
    suite_add("life: CGI", NULL, NULL, tests);
}
