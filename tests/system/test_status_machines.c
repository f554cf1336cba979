/* Two machines behind a load balancer, on one database: whichever is asked, its page shows what both have counted and
 * the events of both, also when one of them has died, was made anew with nothing on its disk, or the database is away;
 * /metrics has each one's own, with its name. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/looked.h"
#include "tests/support/postgresql.h"
#include "tests/support/running.h"

#define PATIENCE_MS 20000
#define REFUSED "closecrm_refused_requests_total{source=\"alpha\",reason=\"no_signature\",instance=\""
#define SIZES "closecrm_event_size_bytes_count{source=\"alpha\",instance=\""

static bool open_machines(struct site site[static 2])
{
    char lines[1024];
    bool good = durable_open(&site[0], &setup_lighttpd_spawn, LOOKED_CONFIG);
    snprintf(lines, sizeof lines, "%s%s", durable_queue_lines(), LOOKED_CONFIG);
    return site_open(&site[1], &setup_lighttpd_spawn, lines) && good;
}

static void close_machines(struct site site[static 2])
{
    site_close(&site[1]);
    site_close(&site[0]);
}

static void send_events(const struct site *site, const char *prefix, size_t count)
{
    char id[40];
    for (size_t i = 0; i < count; i++) {
        snprintf(id, sizeof id, "%s%zu", prefix, i);
        CU_ASSERT_EQUAL(site_send(site, id).status, 200);
    }
}

static void send_unsigned(const struct site *site)
{
    char url[160];
    struct client_answer answer;
    snprintf(url, sizeof url, "%s/alpha", site->url);
    const struct client_request request = {.url = url, .body = slice_of("{\"event\":{}}")};
    CU_ASSERT_EQUAL(client_send(site->client, &request, &answer), 401);
}

/* What the page's chart says of the last hour; -1: nothing. */
static int64_t charted(const struct site *site, const char *name)
{
    struct buffer out = {0};
    int64_t sum = -1;
    if (looked_get(site, "/status?format=json", &out) == 200) {
        struct slice list = slice_member(slice_member(slice_of(out.data), "last_hour"), name), value = {NULL, 0};
        sum = 0;
        while (slice_element(list, &value))
            sum += strtoll(value.at, NULL, 10);
    }
    buffer_free(&out);
    return sum;
}

/* Of the source alpha, as the page has it. */
static int64_t refused(const struct site *site)
{
    static const char mark[] = "\"no_signature\": ";
    struct buffer out = {0};
    const char *at =
        looked_get(site, "/status?format=json", &out) == 200 ? strstr(out.data, "\"name\": \"alpha\"") : NULL;
    at = at == NULL ? NULL : strstr(at, mark);
    int64_t count = at == NULL ? 0 : strtoll(at + sizeof mark - 1, NULL, 10);
    buffer_free(&out);
    return count;
}

static void wait_figures(const struct site *site, int64_t accepted, int64_t refusals, const char *when)
{
    moment deadline = clock_now() + durable_patience(PATIENCE_MS);
    while (clock_now() < deadline && (charted(site, "accepted") != accepted || charted(site, "delivered") != accepted ||
                                      refused(site) != refusals))
        poll(NULL, 0, 100);
    check(charted(site, "accepted") == accepted && charted(site, "delivered") == accepted && refused(site) == refusals,
          "%s the page shows %lld accepted, %lld delivered, %lld refused", when, (long long)charted(site, "accepted"),
          (long long)charted(site, "delivered"), (long long)refused(site));
}

/* The only sample that begins so, and its machine. Returns its value, -1: there is none, or several. */
static int64_t own_sample(const struct site *site, const char *begin, char instance[static 120])
{
    struct buffer out = {0};
    const char *at = looked_get(site, "/metrics", &out) == 200 ? strstr(out.data, begin) : NULL;
    int64_t value = -1;
    instance[0] = '\0';
    if (at != NULL && strstr(at + 1, begin) == NULL) {
        at += strlen(begin);
        snprintf(instance, 120, "%.*s", (int)strcspn(at, "\""), at);
        value = strtoll(at + strcspn(at, " "), NULL, 10);
    }
    buffer_free(&out);
    return value;
}

/* How many events the page shows as delivered. *number: of one of them. */
static size_t shown(const struct site *site, uint64_t *number)
{
    struct buffer out = {0};
    size_t count = 0;
    if (looked_get(site, "/status?format=json", &out) == 200) {
        struct slice events = slice_member(slice_of(out.data), "events"), one = {NULL, 0};
        while (slice_element(events, &one)) {
            if (!slice_equal(slice_member(one, "state"), slice_of("\"delivered\"")))
                continue;
            *number = strtoull(slice_member(one, "number").at, NULL, 10);
            count++;
        }
    }
    buffer_free(&out);
    return count;
}

/* An event that one page shows is opened on the other. */
static void wait_events(const struct site site[static 2], size_t events)
{
    struct buffer out = {0};
    char path[80];
    for (size_t i = 0; i < 2; i++) {
        uint64_t number = 0;
        moment deadline = clock_now() + durable_patience(PATIENCE_MS);
        while (shown(&site[i], &number) != events && clock_now() < deadline)
            poll(NULL, 0, 100);
        check(shown(&site[i], &number) == events, "machine %zu shows %zu events", i, shown(&site[i], &number));
        snprintf(path, sizeof path, "/status?event=%llu&format=json", (unsigned long long)number);
        for (size_t k = 0; k < 2; k++) {
            CU_ASSERT_EQUAL(looked_get(&site[k], path, &out), 200);
            CU_ASSERT_PTR_NOT_NULL(strstr(out.data, "messageId"));
        }
    }
    buffer_free(&out);
}

static void each_machine_shows_what_both_count(void)
{
    struct site site[2];
    char name[2][120], same[120];
    if (open_machines(site)) {
        send_events(&site[0], "first", 3);
        send_events(&site[1], "second", 2);
        send_unsigned(&site[0]);
        for (size_t i = 0; i < 3; i++)
            send_unsigned(&site[1]);
        wait_figures(&site[0], 5, 4, "first");
        wait_figures(&site[1], 5, 4, "second");
        wait_events(site, 5);
        CU_ASSERT_EQUAL(own_sample(&site[0], REFUSED, name[0]), 1);
        CU_ASSERT_EQUAL(own_sample(&site[1], REFUSED, name[1]), 3);
        CU_ASSERT_EQUAL(own_sample(&site[0], SIZES, same), 3);
        CU_ASSERT_STRING_EQUAL(same, name[0]);
        CU_ASSERT_STRING_NOT_EQUAL(name[0], "");
        CU_ASSERT_STRING_NOT_EQUAL(name[0], name[1]);
        for (size_t i = 0; i < 2; i++)
            CU_ASSERT_EQUAL(looked_metric(&site[i], "closecrm_accepted_events_total{source=\"alpha\"}"), 5);
    }
    close_machines(site);
}

static void what_a_machine_counted_outlives_it(void)
{
    struct site site[2];
    char state[PATH_SIZE];
    if (open_machines(site)) {
        send_events(&site[0], "first", 3);
        send_events(&site[1], "second", 2);
        wait_figures(&site[0], 5, 0, "before");
        CU_ASSERT(durable_kill_all(&site[1]) > 0);
        wait_figures(&site[0], 5, 0, "when one has died");
        path_join(state, site[1].directory, "state");
        temporary_remove(state);
        CU_ASSERT(temporary_directory(site[1].directory, "state") && chmod(state, 0700) == 0);
        CU_ASSERT(durable_start_anew(&site[1], NULL));
        send_events(&site[1], "third", 1);
        wait_figures(&site[1], 6, 0, "on the new one");
        wait_figures(&site[0], 6, 0, "on the other one");
    }
    close_machines(site);
}

/* Sets back when the other was heard, rather than wait. */
static void wait_age(const struct site *site)
{
    static const char words[] = "what 1 other machine counts is in the figures as it was 5 minutes ago";
    struct buffer out = {0};
    char path[PATH_SIZE];
    time_t past = (time_t)(clock_unix_ms() / 1000 - 301);
    const struct timespec times[2] = {{.tv_sec = past}, {.tv_sec = past}};
    path_join(path, site->directory, "state/machines/heard");
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, times, 0), 0);
    CU_ASSERT_EQUAL(looked_get(site, "/status", &out), 200);
    check(strstr(out.data, words) != NULL, "the page tells the age");
    CU_ASSERT_PTR_NOT_NULL(strstr(command_output(site, "check", NULL).text, words));
    buffer_free(&out);
}

/* What nobody can know now is not called 0. */
static void check_not_known(const struct site *site)
{
    static const struct {
        const char *page, *words;
        bool there;
    } looks[] = {
        {"/status?format=json", "\"accepted\": null", true},
        {"/status?format=json", "\"oldest_waiting_seconds\": null", true},
        {"/status?format=json", "\"waiting\": 0", false},
        {"/status", "data-fact=\"oldest\">not known<", true},
        {"/status", "<li class=\"step", false},
        {"/metrics", "closecrm_accepted_events_total{source=\"alpha\"", false},
        {"/metrics", "closecrm_waiting_events{source=\"alpha\"", false},
    };
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
        struct buffer out = {0};
        CU_ASSERT_EQUAL(looked_get(site, looks[i].page, &out), 200);
        check((strstr(out.data, looks[i].words) != NULL) == looks[i].there, "%s %s %s", looks[i].page,
              looks[i].there ? "has" : "lacks", looks[i].words);
        buffer_free(&out);
    }
}

static void the_figures_stay_while_the_database_is_away(void)
{
    struct site site[2];
    struct config config = {.queue_url = NULL};
    char sql[200];
    if (open_machines(site)) {
        send_events(&site[0], "first", 3);
        send_events(&site[1], "second", 2);
        wait_figures(&site[0], 5, 0, "before");
        wait_figures(&site[1], 5, 0, "before");
        durable_queue_config(&config);
        char *base = postgresql_run(config.queue_url, "SELECT current_database()");
        CU_ASSERT_TRUE_FATAL(durable_new_queue()); /* from which the other one can be closed */
        durable_queue_config(&config);
        snprintf(sql, sizeof sql, "ALTER DATABASE %.64s ALLOW_CONNECTIONS false", base);
        free(postgresql_run(config.queue_url, sql));
        snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%.64s'",
                 base);
        free(postgresql_run(config.queue_url, sql));
        for (size_t i = 0; i < 2; i++) {
            wait_figures(&site[i], 5, 0, "without the database");
            wait_age(&site[i]);
            check_not_known(&site[i]);
            CU_ASSERT_EQUAL(site_send(&site[i], "away").status, 503);
        }
        free(base);
    }
    close_machines(site);
}

/* Who forwards would try again after five minutes; who finds that it is mended is the other machine. */
static void what_one_machine_finds_mended_another_sends(void)
{
    struct site site[2];
    const struct standin_fault refusal = {.act = STANDIN_ANSWER, .times = STANDIN_ALWAYS, .status = 401};
    if (open_machines(site)) {
        for (size_t i = 0; i < 2; i++)
            standin_fail(site[i].standin, &refusal);
        send_events(&site[0], "refused", 1);
        for (moment until = clock_now() + durable_patience(PATIENCE_MS); clock_now() < until; poll(NULL, 0, 50)) {
            if (standin_counts(site[0].standin).requests + standin_counts(site[1].standin).requests > 0)
                break;
        }
        size_t forwards = standin_counts(site[0].standin).requests > 0 ? 0 : 1;
        CU_ASSERT_EQUAL(standin_counts(site[1 - forwards].standin).requests, 0);
        moment until = clock_now() + durable_patience(PATIENCE_MS);
        while (looked_metric(&site[forwards], "closecrm_data_plane_refuses{source=\"alpha\"}") != 1 &&
               clock_now() < until)
            poll(NULL, 0, 50);
        for (size_t i = 0; i < 2; i++)
            standin_heal(site[i].standin);
        struct output output = command_output(&site[1 - forwards], "check", NULL);
        check(strstr(output.text, "was told to send what waits at once") != NULL, "it is told: %s", output.text);
        check(standin_wait_messages(site[forwards].standin, 1, durable_patience(PATIENCE_MS)),
              "the other one sends it");
    }
    close_machines(site);
}

void suite_status_machines(void)
{
    static CU_TestInfo tests[] = {
        {"each machine shows what both count", each_machine_shows_what_both_count},
        {"what a machine counted outlives it", what_a_machine_counted_outlives_it},
        {"what one machine finds mended another sends", what_one_machine_finds_mended_another_sends},
        {"the figures stay while the database is away", the_figures_stay_while_the_database_is_away},
        CU_TEST_INFO_NULL,
    };
    suite_add("status machines", durable_use_postgresql, durable_end_postgresql, tests);
}
