/* The status page behind real web servers: what it counts is what the data plane received, whatever processes come, go
 * and are killed; it is the same through each server; under CGI too. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/load.h"
#include "tests/support/looked.h"
#include "tests/support/running.h"

#define EVENTS 800
#define PATIENCE_MS 60000

static const struct setup setup_apache_cgi = {
    .name = "Apache, CGI", .server = "apache2", .sample = "cgi.conf", .mount = "/closecrm"};

/* Processes of the program are killed while events come. */
static void counts_are_right_whatever_dies(void)
{
    struct site site;
    if (durable_open(&site, &setup_apache_fcgid, LOOKED_CONFIG)) {
        struct load_options options = {.url = site.url,
                                       .signature_key = ALPHA_SIGNATURE_KEY,
                                       .prefix = "ev",
                                       .count = EVENTS,
                                       .connections = 8,
                                       .marked = LOAD_NONE};
        struct load *load = load_start(&options);
        CU_ASSERT(load_wait(load, EVENTS / 4, PATIENCE_MS));
        check(programs_kill(&site) > 0, "there was something to kill");
        CU_ASSERT(load_wait(load, EVENTS / 2, PATIENCE_MS));
        CU_ASSERT(programs_kill(&site) > 0);
        struct load_result result = load_finish(load);
        check(looked_wait(&site, "waiting", 0, PATIENCE_MS), "%lld wait", (long long)looked_number(&site, "waiting"));
        struct standin_counts received = standin_counts(site.standin);
        int64_t distinct = (int64_t)(received.messages - received.repeated);
        check(looked_number(&site, "delivered") == distinct, "delivered is %lld, and %lld were received",
              (long long)looked_number(&site, "delivered"), (long long)distinct);
        CU_ASSERT_EQUAL(looked_metric(&site, "closecrm_settled_events_total{source=\"alpha\",outcome=\"delivered\"}"),
                        distinct);
        int64_t accepted = looked_number(&site, "accepted");
        CU_ASSERT_EQUAL(accepted, distinct + looked_number(&site, "duplicates"));
        CU_ASSERT_EQUAL(looked_metric(&site, "closecrm_accepted_events_total{source=\"alpha\"}"), accepted);
        check(accepted >= (int64_t)result.ok, "%lld accepted, %zu answered 200", (long long)accepted, result.ok);
        check(distinct >= (int64_t)result.ok, "what was answered 200 arrived");
        load_free(load);
    }
    site_close(&site);
}

/* The same requests through each server. */
static void the_page_through(const struct setup *setup)
{
    struct site site;
    struct buffer out = {0};
    char form[160], token[LOOKED_TOKEN];
    if (durable_open(&site, setup, LOOKED_CONFIG)) {
        CU_ASSERT_EQUAL(looked_number(&site, "accepted"), 0);
        CU_ASSERT_EQUAL(site_send(&site, "ev_1").status, 200);
        check(looked_wait(&site, "delivered", 1, PATIENCE_MS), "%s: it is seen to be delivered", setup->name);
        CU_ASSERT_EQUAL(looked_metric(&site, "closecrm_data_plane_answers_total{source=\"alpha\",status=\"200\"}"), 1);
        CU_ASSERT_EQUAL(looked_metric(&site, "closecrm_event_size_bytes_count{source=\"alpha\"}"), 1);
        CU_ASSERT_EQUAL(looked_get(&site, "/status?event=1&format=json", &out), 200);
        CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "\"state\": \"delivered\""));
        CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "\\\"messageId\\\": \\\"ev_1\\\""));
        CU_ASSERT_EQUAL(looked_get(&site, "/healthz", &out), 200);
        CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "\"ok\": true"));
        CU_ASSERT_PTR_NULL(strstr(out.data, "\"last_forwarded\": null"));
        CU_ASSERT_EQUAL(looked_get(&site, "/status", &out), 200);
        check(strstr(out.data, site.url) != NULL, "%s: the page has the address %s", setup->name, site.url);
        CU_ASSERT_FATAL(looked_token(&site, token));
        snprintf(form, sizeof form, "token=%s&action=key&source=alpha", token);
        CU_ASSERT_EQUAL(looked_post(&site, form), 200);
        CU_ASSERT_EQUAL(looked_post(&site, "action=key&source=alpha"), 403);
        snprintf(form, sizeof form, "token=%s&action=replay&letter=1", token);
        CU_ASSERT_EQUAL(looked_post(&site, form), 303);
    }
    buffer_free(&out);
    site_close(&site);
}

/* The program writes by itself, though nobody asks, and who asks only hears of it. */
static void health_is_probed(void)
{
    struct site site;
    struct buffer out = {0};
    char probe[PATH_SIZE];
    bool written = false;
    if (durable_open(&site, &setup_lighttpd_spawn, NULL)) {
        path_join(probe, site.directory, "state/health.probe");
        for (moment deadline = clock_now() + PATIENCE_MS; access(probe, F_OK) != 0 && clock_now() < deadline;)
            poll(NULL, 0, 20);
        check(access(probe, F_OK) == 0, "a probe is written before anybody asks");
        for (moment deadline = clock_now() + PATIENCE_MS; !written && clock_now() < deadline; poll(NULL, 0, 20))
            written = looked_get(&site, "/healthz", &out) == 200 && strstr(out.data, "\"written\": \"2") != NULL;
        check(written, "a probe is written: %s", out.data);
    }
    buffer_free(&out);
    site_close(&site);
}

/* As one is that root left behind who once started the program. */
static void a_probe_of_another_user_is_made_anew(void)
{
    const struct timespec long_ago[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    struct site site;
    struct buffer out = {0};
    struct stat status = {.st_mode = 0};
    char probe[PATH_SIZE];
    if (durable_open(&site, &setup_lighttpd_spawn, LOOKED_CONFIG)) {
        path_join(probe, site.directory, "state/health.probe");
        process_stop(&site.program, PATIENCE_MS);
        CU_ASSERT(temporary_write(site.directory, "state/health.probe", 0600, "", 0));
        CU_ASSERT_EQUAL(utimensat(AT_FDCWD, probe, long_ago, 0), 0);
        CU_ASSERT_EQUAL(chmod(probe, 0), 0); /* nobody but root can open it */
        CU_ASSERT(durable_start_anew(&site, NULL));
        for (moment deadline = clock_now() + PATIENCE_MS; clock_now() < deadline; poll(NULL, 0, 20)) {
            if (stat(probe, &status) == 0 && (status.st_mode & 0777) == 0600 && status.st_mtim.tv_sec > 1)
                break;
        }
        CU_ASSERT_EQUAL(status.st_mode & 0777, 0600);
        CU_ASSERT_EQUAL(looked_get(&site, "/healthz", &out), 200);
    }
    buffer_free(&out);
    site_close(&site);
}

static void through_lighttpd(void)
{
    the_page_through(&setup_lighttpd_spawn);
}

static void through_apache(void)
{
    the_page_through(&setup_apache_proxy);
}

static void through_fcgid(void)
{
    the_page_through(&setup_apache_fcgid);
}

static void through_cgi(void)
{
    the_page_through(&setup_apache_cgi);
}

static CU_TestInfo tests[] = {
    {"counts are right whatever dies", counts_are_right_whatever_dies},
    {"health is probed", health_is_probed},
    {"a probe of another user is made anew", a_probe_of_another_user_is_made_anew},
    {"through lighttpd", through_lighttpd},
    {"through Apache, mod_proxy_fcgi", through_apache},
    {"through Apache, mod_fcgid", through_fcgid},
    {"through Apache, CGI", through_cgi},
    CU_TEST_INFO_NULL,
};

void suite_status_servers_postgresql(void)
{
    suite_add("status_servers postgresql", durable_use_postgresql, durable_end_postgresql, tests);
}

void suite_status_servers(void)
{
    suite_add("status_servers", NULL, NULL, tests);
}
