/* What was answered 200 arrives, unaltered and counted once, whatever the data plane does; what was not is said not to
 * be. Through lighttpd and spawn-fcgi. */
#include "tests/suites.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/event.h"
#include "tests/support/load.h"
#include "tests/support/signature.h"
#include "tests/support/site.h"

/* By then Close has its answer. */
#define ANSWERED_MS 15000

/* Sends one signed event to the source alpha and waits for its answer. */
static struct client_answer send_event(struct site *site, const struct event_options *options)
{
    char url[160];
    struct event_text event = {.body = {.data = NULL}};
    struct client_answer answer;
    snprintf(url, sizeof url, "%s/alpha", site->url);
    event_make(&event, options);
    struct signature signature = signature_make(ALPHA_SIGNATURE_KEY, event_body(&event), 0);
    struct client_request request = {
        .url = url, .headers = {signature.hash, signature.timestamp}, .body = event_body(&event)};
    moment before = clock_now();
    client_send(site->client, &request, &answer);
    check(clock_now() - before < durable_patience(ANSWERED_MS), "%s is answered before Close gives up", options->id);
    event_free(&event);
    return answer;
}

static struct load_options usual_load(const struct site *site)
{
    return (struct load_options){.url = site->url,
                                 .signature_key = ALPHA_SIGNATURE_KEY,
                                 .prefix = "ev",
                                 .count = 500,
                                 .connections = 32,
                                 .marked = LOAD_NONE};
}

static size_t times_stored(struct site *site, const char *id)
{
    const struct standin_message *message = standin_find(site->standin, id);
    return message == NULL ? 0 : message->times;
}

static void check_all_arrive(const struct setup *setup, size_t count, size_t connections)
{
    struct site site;
    if (site_open(&site, setup, "queue = none")) {
        struct load_options options = usual_load(&site);
        options.count = count;
        options.connections = connections;
        options.filler = 1300;
        moment before = clock_now();
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        printf("(%zu events of 2 KB in %lld ms, slowest %lld ms, %ld KiB) ", count, (long long)(clock_now() - before),
               (long long)result.slowest, process_status(site.program.pid, "VmRSS"));
        check(result.ok == count, "%zu of %zu are answered 200, else %d", result.ok, count, result.other);
        CU_ASSERT_EQUAL(load_count_arrived(load, site.standin, 1), count);
        CU_ASSERT_EQUAL(standin_counts(site.standin).messages, count);
        CU_ASSERT_EQUAL(standin_counts(site.standin).repeated, 0);
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void many_arrive_once_each(void)
{
    check_all_arrive(&setup_lighttpd_spawn, 10000, 32);
}

/* More connections than the program has threads: none of them may hold a thread while it is idle. */
static void many_arrive_through_kept_connections(void)
{
    check_all_arrive(&setup_apache_proxy, 3000, 80);
}

/* mod_fcgid must have a process for each of them soon enough. */
static void many_at_once_through_fcgid_while_the_data_plane_is_slow(void)
{
    struct site site;
    if (site_open(&site, &setup_apache_fcgid, "queue = none")) {
        struct load_options options = usual_load(&site);
        options.count = 64;
        standin_fail(site.standin,
                     &(struct standin_fault){.act = STANDIN_SLOW, .times = STANDIN_ALWAYS, .delay_ms = 3000});
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        check(result.ok == options.count, "%zu of 64 are answered 200, else %d", result.ok, result.other);
        check(result.slowest < durable_patience(ANSWERED_MS), "answered after %lld ms", (long long)result.slowest);
        CU_ASSERT_EQUAL(load_count_arrived(load, site.standin, 1), options.count);
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void one_bad_event_is_found_among_many(void)
{
    static const struct standin_fault fault = {.act = STANDIN_ANSWER,
                                               .times = STANDIN_ALWAYS,
                                               .marker = LOAD_MARK,
                                               .status = 400,
                                               .body = "this one is not to my taste"};
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, "queue = none")) {
        standin_fail(site.standin, &fault);
        struct load_options options = usual_load(&site);
        options.marked = 250;
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        check(result.ok == options.count - 1, "%zu of 499 good ones are answered 200", result.ok);
        CU_ASSERT_EQUAL(load_status(load, options.marked), 400);
        CU_ASSERT_EQUAL(load_count_arrived(load, site.standin, 1), options.count - 1);
        CU_ASSERT(site_count_logged(&site, "this one is not to my taste") > 0);
        load_free(load);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void data_plane_down_and_up_again(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, "queue = none")) {
        struct load_options options = usual_load(&site);
        options.count = options.connections = 4;
        site_standin_down(&site);
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        load_free(load);
        check(result.ok == 0 && result.other == 503, "while it is down: 503, not %d", result.other);
        check(result.slowest < durable_patience(ANSWERED_MS), "answered after %lld ms", (long long)result.slowest);

        /* Close sends them again; the program tries again on its own time, so not all may be taken at once */
        CU_ASSERT(site_standin_up(&site));
        moment deadline = clock_now() + 60000;
        do {
            poll(NULL, 0, 250); /* it may answer 503 at once, for as long as it knows that its next try is far */
            load = load_start(&options);
            result = load_finish(load);
            size_t arrived = load_count_arrived(load, site.standin, 1);
            check(arrived == result.ok, "%zu were answered 200, %zu arrived once", result.ok, arrived);
            load_free(load);
        } while (result.ok < options.count && clock_now() < deadline);
        check(result.ok == options.count, "when it is up again: all are taken");
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void no_answer_is_no_loss(void)
{
    static const struct {
        const char *id;
        struct standin_fault fault;
        size_t stored;
        int64_t waited;
    } rows[] = {
        {"ev_500", {.act = STANDIN_ANSWER, .times = 1, .status = 500, .body = "database is away"}, 1, 0},
        {"ev_429", {.act = STANDIN_ANSWER, .times = 1, .status = 429, .retry_after = "1"}, 1, 1000},
        {"ev_cut", {.act = STANDIN_CUT, .times = 1}, 1, 0},
        {"ev_stored_cut", {.act = STANDIN_STORE_CUT, .times = 1}, 2, 0},
        {"ev_slow", {.act = STANDIN_SLOW, .times = 1, .delay_ms = 1000}, 1, 1000},
    };
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, "queue = none")) {
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            standin_fail(site.standin, &rows[i].fault);
            moment before = clock_now();
            struct client_answer answer = send_event(&site, &(struct event_options){.id = rows[i].id});
            check(answer.status == 200, "%s: 200, not %d %s", rows[i].id, answer.status, answer.body);
            check(times_stored(&site, rows[i].id) == rows[i].stored, "%s: stored %zu times", rows[i].id,
                  times_stored(&site, rows[i].id));
            check(clock_now() - before >= rows[i].waited, "%s: not before %lld ms", rows[i].id,
                  (long long)rows[i].waited);
            standin_heal(site.standin);
        }
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

/* Two copies of a message are the same bytes, so that the data plane can know them by their messageId. */
static void sent_again_is_the_same(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, "queue = none")) {
        standin_fail(site.standin, &(struct standin_fault){.act = STANDIN_STORE_CUT, .times = 1});
        CU_ASSERT_EQUAL(send_event(&site, &(struct event_options){.id = "ev_1"}).status, 200);
        CU_ASSERT_EQUAL_FATAL(standin_counts(site.standin).messages, 2);
        CU_ASSERT(slice_equal(standin_message(site.standin, 0)->json, standin_message(site.standin, 1)->json));
        /* and what Close sends again is known */
        CU_ASSERT_EQUAL(send_event(&site, &(struct event_options){.id = "ev_1"}).status, 200);
        CU_ASSERT_EQUAL(standin_counts(site.standin).messages, 2);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void wrong_write_key_is_told_to_the_operator(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, "queue = none")) {
        standin_fail(site.standin,
                     &(struct standin_fault){
                         .act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 401, .body = "invalid write key"});
        struct client_answer answer = send_event(&site, &(struct event_options){.id = "ev_1"});
        CU_ASSERT_EQUAL(answer.status, 503);
        CU_ASSERT(answer.retry_after[0] != '\0');
        CU_ASSERT(site_count_logged(&site, "invalid write key") > 0);
        CU_ASSERT(site_count_logged(&site, "check write_key") > 0);
        CU_ASSERT_EQUAL(site_count_logged(&site, ALPHA_WRITE_KEY), 0);
        standin_heal(site.standin);
        CU_ASSERT_EQUAL(times_stored(&site, "ev_1"), 0);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

#define STALLED 40 /* more than the program has threads */
/* What waits for a stalled client waits until its request_timeout, which is 12 s. */
#define AT_ONCE_MS 11000

/* Connects and sends some of a request: through the web server 20 KB of a body that was announced as 100 KB, or at the
 * program's own socket the beginning of a FastCGI request. */
static int stall(const struct site *site, bool direct)
{
    static const char begin[] = "\1\1\0\1\0\10\0\0\0\1\1\0\0\0\0\0\1\4\0\1\0";
    static char request[20000]; /* NULs behind the head */
    char path[PATH_SIZE];
    snprintf(request, sizeof request, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n",
             site->setup->mount);
    site_socket(site, path);
    int fd = direct ? connect_socket(path) : connect_port(site->port);
    struct slice bytes = direct ? (struct slice){begin, sizeof begin - 1} : (struct slice){request, sizeof request};
    check(fd >= 0 && raw_write(fd, bytes), "a client connects and stalls");
    return fd;
}

static void check_stalled_harm_nobody(const struct setup *setup, size_t count, bool direct)
{
    struct site site;
    int stalled[STALLED];
    if (site_open(&site, setup, "queue = none\nrequest_timeout = 12s")) {
        for (size_t i = 0; i < count; i++)
            stalled[i] = stall(&site, direct);
        struct load_options options = usual_load(&site);
        struct load *load = load_start(&options);
        struct load_result result = load_finish(load);
        CU_ASSERT_EQUAL(result.ok, options.count);
        check(result.slowest < AT_ONCE_MS, "nobody waits for a stalled client (%lld ms)", (long long)result.slowest);
        CU_ASSERT_EQUAL(load_count_arrived(load, site.standin, 1), options.count);
        load_free(load);
        for (size_t i = 0; i < count; i++)
            close(stalled[i]);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void clients_stalled_before_lighttpd(void)
{
    check_stalled_harm_nobody(&setup_lighttpd_spawn, STALLED, false);
}

static void clients_stalled_before_apache(void)
{
    check_stalled_harm_nobody(&setup_apache_proxy, STALLED, false);
}

/* A web server that streams bodies would do this. */
static void requests_stalled_in_the_program(void)
{
    check_stalled_harm_nobody(&setup_lighttpd_spawn, 8, true);
}

static void a_file_takes_the_messages(void)
{
    struct site site;
    struct event_text event = {.body = {.data = NULL}};
    if (site_open(&site, &setup_lighttpd_spawn, "queue = none")) {
        char text[512];
        int length =
            snprintf(text, sizeof text,
                     "queue = none\n[source alpha]\ndata_plane_url = file://%s/events.ndjson\nwrite_key = unused\n"
                     "signature_key = " ALPHA_SIGNATURE_KEY "\n",
                     site.directory);
        CU_ASSERT(site_wait_logged(&site, "msg=started", 1, 60000)); /* before that a signal would just kill it */
        CU_ASSERT_EQUAL(process_stop(&site.program, 60000), 0);
        CU_ASSERT(temporary_write(site.directory, "closecrm.conf", 0600, text, (size_t)length));
        CU_ASSERT(site_spawn(&site));
        CU_ASSERT_EQUAL(send_event(&site, &(struct event_options){.id = "ev_1"}).status, 200);
        char *file = temporary_read(site.directory, "events.ndjson");
        event_make(&event, &(struct event_options){.id = "ev_1"});
        CU_ASSERT_PTR_NOT_NULL(file);
        if (file != NULL) {
            CU_ASSERT(slice_equal(slice_member(slice_of(file), "properties"), event_properties(&event)));
            CU_ASSERT_PTR_EQUAL(strchr(file, '\n'), file + strlen(file) - 1);
        }
        free(file);
    }
    event_free(&event);
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

void suite_delivery(void)
{
    static CU_TestInfo tests[] = {
        {"10,000 events over 32 connections arrive once each", many_arrive_once_each},
        {"3,000 events over Apache's kept connections", many_arrive_through_kept_connections},
        {"32 at once through mod_fcgid, a slow data plane", many_at_once_through_fcgid_while_the_data_plane_is_slow},
        {"one bad event is found among many", one_bad_event_is_found_among_many},
        {"data plane down: 503, and up again: 200", data_plane_down_and_up_again},
        {"500, 429, a cut, a delay: no loss", no_answer_is_no_loss},
        {"what is sent again is the same bytes", sent_again_is_the_same},
        {"a wrong write key is told to the operator", wrong_write_key_is_told_to_the_operator},
        {"clients stalled before lighttpd harm nobody else", clients_stalled_before_lighttpd},
        {"clients stalled before Apache harm nobody else", clients_stalled_before_apache},
        {"requests stalled in the program harm nobody else", requests_stalled_in_the_program},
        {"a file takes the messages", a_file_takes_the_messages},
        CU_TEST_INFO_NULL,
    };
    suite_add("delivery", NULL, NULL, tests);
}
