/* Two machines on one database: four sources spread over them, each event arrives once and in its order, also while a
 * machine leaves and comes, and within seconds when one dies. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/postgresql.h"

#define SOURCES 4
#define EVENTS 1500 /* of each */
#define TAKEN_OVER_MS 8000

static const struct {
    const char *name, *write_key, *signature_key;
} sources[SOURCES] = {
    {"alpha", ALPHA_WRITE_KEY, ALPHA_SIGNATURE_KEY},
    {"beta", BETA_WRITE_KEY, BETA_SIGNATURE_KEY},
    {"gamma", "key-gamma", "aa112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"},
    {"delta", "key-delta", "bb112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"},
};

/* A site each, whose own stand-ins get nothing: both send to one. */
struct machines {
    struct site site[2];
    struct standin *standin;
    char url[SOURCES][160];
    struct load *load[SOURCES];
};

static bool configure(struct machines *machines, struct site *site)
{
    char text[4096];
    int length = snprintf(text, sizeof text, "%sdata_plane_url = http://127.0.0.1:%u\n", durable_queue_lines(),
                          standin_port(machines->standin));
    for (size_t i = 0; i < SOURCES; i++)
        length +=
            snprintf(text + length, sizeof text - (size_t)length, "[source %s]\nwrite_key = %s\nsignature_key = %s\n",
                     sources[i].name, sources[i].write_key, sources[i].signature_key);
    return temporary_write(site->directory, "closecrm.conf", 0600, text, (size_t)length) &&
           durable_start_anew(site, NULL);
}

static bool open_machines(struct machines *machines)
{
    struct standin_options options = {.write_keys = {NULL}};
    for (size_t i = 0; i < SOURCES; i++)
        options.write_keys[i] = sources[i].write_key;
    *machines = (struct machines){.standin = standin_start(&options)};
    return check(machines->standin != NULL, "a stand-in starts") &&
           durable_open(&machines->site[0], &setup_lighttpd_spawn, NULL) &&
           site_open(&machines->site[1], &setup_lighttpd_spawn, durable_queue_lines()) &&
           configure(machines, &machines->site[0]) && configure(machines, &machines->site[1]);
}

static void close_machines(struct machines *machines)
{
    for (size_t i = 0; i < SOURCES; i++)
        load_free(machines->load[i]);
    site_close(&machines->site[1]);
    site_close(&machines->site[0]);
    standin_stop(machines->standin);
}

/* How many sources each process has, the fewest first: "2 2"; "" when it cannot be asked. Static. */
static const char *shares(void)
{
    static char text[64];
    struct config config = {.queue_url = NULL};
    durable_queue_config(&config);
    char *answer = postgresql_run(
        config.queue_url, "SELECT coalesce(string_agg(n::text, ' ' ORDER BY n), '') FROM (SELECT count(*) AS n FROM"
                          " pg_locks WHERE locktype = 'advisory' AND granted AND objid::int8 > 16 AND database ="
                          " (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY pid) p");
    snprintf(text, sizeof text, "%s", answer == NULL ? "" : answer);
    free(answer);
    return text;
}

/* Returns after how long, ms. */
static int64_t wait_shares(const char *expected)
{
    moment began = clock_now(), deadline = began + durable_patience(60000);
    while (strcmp(shares(), expected) != 0 && clock_now() < deadline)
        poll(NULL, 0, 50);
    check(strcmp(shares(), expected) == 0, "the machines have \"%s\" sources: \"%s\"", expected, shares());
    return clock_now() - began;
}

/* To the first machine, whichever forwards them. */
static void start_loads(struct machines *machines, int64_t pause_ms)
{
    for (size_t i = 0; i < SOURCES; i++) {
        struct load_options options = durable_load(&machines->site[0]);
        snprintf(machines->url[i], sizeof machines->url[i], "%s/%s", machines->site[0].url, sources[i].name);
        options.url = machines->url[i];
        options.signature_key = sources[i].signature_key;
        options.prefix = sources[i].name;
        options.count = durable_share(EVENTS);
        options.connections = 4;
        options.ordered = true;
        options.first_lead = i * 100;
        options.pause_ms = pause_ms;
        machines->load[i] = load_start(&options);
    }
}

/* times: as load_count_arrived. */
static void check_loads(struct machines *machines, size_t times)
{
    for (size_t i = 0; i < SOURCES; i++) {
        struct load_result result = load_finish(machines->load[i]);
        CU_ASSERT_EQUAL(result.ok, result.sent);
    }
    CU_ASSERT_TRUE(durable_wait_empty(&machines->site[0], durable_patience(60000)));
    for (size_t i = 0; i < SOURCES; i++) {
        struct load *load = machines->load[i];
        size_t arrived = load_count_arrived(load, machines->standin, times),
               all = load_count_arrived(load, machines->standin, 0);
        check(arrived == durable_share(EVENTS), "of %s %zu arrived", sources[i].name, arrived);
        check(all == durable_share(EVENTS), "of %s %zu arrived at least once", sources[i].name, all);
        CU_ASSERT_EQUAL(load_count_altered(load, machines->standin, sources[i].write_key), 0);
        CU_ASSERT_EQUAL(load_count_disordered(load, machines->standin), 0);
    }
    struct standin_counts counts = standin_counts(machines->standin);
    printf("(%zu messages, %zu of them sent twice) ", counts.messages, counts.repeated);
}

static void four_sources_spread_over_two_machines(void)
{
    struct machines machines;
    if (open_machines(&machines)) {
        printf("(spread after %lld ms) ", (long long)wait_shares("2 2"));
        start_loads(&machines, 5);
        for (size_t i = 0; i < 2; i++) {
            load_wait(machines.load[0], durable_share(EVENTS) / 4 * (i + 1), durable_patience(60000));
            process_stop(&machines.site[1].program, durable_patience(60000));
            wait_shares("4");
            CU_ASSERT_TRUE(durable_start_anew(&machines.site[1], NULL));
            wait_shares("2 2");
        }
        check_loads(&machines, 1);
        CU_ASSERT_EQUAL(standin_counts(machines.standin).repeated, 0);
    }
    close_machines(&machines);
}

static void another_machine_goes_on_when_one_dies(void)
{
    struct machines machines;
    if (open_machines(&machines)) {
        wait_shares("2 2");
        start_loads(&machines, 5);
        CU_ASSERT_TRUE(load_wait(machines.load[0], durable_share(EVENTS) / 4, durable_patience(60000)));
        size_t killed = durable_kill_all(&machines.site[1]);
        CU_ASSERT_TRUE(killed > 0);
        int64_t after = wait_shares("4");
        printf("(taken over after %lld ms) ", (long long)after);
        CU_ASSERT_TRUE(after < durable_patience(TAKEN_OVER_MS));
        check_loads(&machines, 0);
    }
    close_machines(&machines);
}

/* ---- one program, two databases ---- */

/* The database of an address of tests/support/postgresql.h. */
static void name_of(const char *url, char name[static 64])
{
    const char *begin = strstr(url, "/queue_");
    CU_ASSERT_PTR_NOT_NULL_FATAL(begin);
    snprintf(name, 64, "%.*s", (int)strcspn(begin + 1, "?"), begin + 1);
}

/* Takes it away, or gives it back. */
static void set_away(const char *url, const char *other_url, bool away)
{
    char name[64], sql[256];
    name_of(url, name);
    snprintf(sql, sizeof sql, "ALTER DATABASE %s ALLOW_CONNECTIONS %s", name, away ? "false" : "true");
    free(postgresql_run(other_url, sql));
    snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s'", name);
    if (away)
        free(postgresql_run(other_url, sql));
}

static struct load *load_of(const struct site *site, size_t source, char url[static 160])
{
    struct load_options options = durable_load(site);
    snprintf(url, 160, "%s/%s", site->url, sources[source].name);
    options.url = url;
    options.signature_key = sources[source].signature_key;
    options.prefix = sources[source].name;
    options.count = durable_share(EVENTS) / 2;
    options.connections = 4;
    options.times = 1000; /* what is answered 503 comes again */
    options.refused_ms = 50;
    return load_start(&options);
}

/* Two loads of two sources, of which the second one's database is away for a while. */
static void check_with_two_databases(struct site *site, const char *near_url, const char *far_url)
{
    char url[2][160];
    set_away(far_url, near_url, true);
    struct load *far = load_of(site, 1, url[1]), *near = load_of(site, 0, url[0]);
    struct load_result result = load_finish(near);
    CU_ASSERT_EQUAL(result.ok, result.sent);
    CU_ASSERT_TRUE(standin_wait_messages(site->standin, result.ok, durable_patience(60000)));
    CU_ASSERT_EQUAL(load_ok(far), 0);
    CU_ASSERT_NOT_EQUAL(durable_command(site, "check", NULL), 0);
    set_away(far_url, near_url, false);
    struct load_result later = load_finish(far);
    CU_ASSERT_EQUAL(later.ok, durable_share(EVENTS) / 2);
    CU_ASSERT_TRUE(standin_wait_messages(site->standin, result.ok + later.ok, durable_patience(60000)));
    CU_ASSERT_EQUAL(load_count_arrived(near, site->standin, 1), result.ok);
    CU_ASSERT_EQUAL(load_count_arrived(far, site->standin, 0), later.ok);
    CU_ASSERT_EQUAL(durable_command(site, "queue", "status"), 0);
    char *text = postgresql_run(far_url, "SELECT n FROM closecrm.count WHERE kind = 1");
    check(text != NULL && strtoul(text, NULL, 10) >= later.ok, "they went through the second database: %s", text);
    free(text);
    load_free(near);
    load_free(far);
}

static void a_database_that_is_away_stops_its_own_sources_only(void)
{
    struct site first, second;
    char far_url[POSTGRESQL_URL], near_url[POSTGRESQL_URL], text[4096];
    struct config config = {.queue_url = NULL};
    if (durable_open(&first, &setup_lighttpd_spawn, NULL)) {
        durable_queue_config(&config);
        snprintf(far_url, sizeof far_url, "%s", config.queue_url);
        if (durable_open(&second, &setup_lighttpd_spawn, NULL)) {
            snprintf(near_url, sizeof near_url, "%s", config.queue_url);
            process_stop(&first.program, durable_patience(60000));
            int length = snprintf(text, sizeof text,
                                  "%sdata_plane_url = http://127.0.0.1:%u\n"
                                  "[source alpha]\nwrite_key = %s\nsignature_key = %s\n"
                                  "[source beta]\nwrite_key = %s\nsignature_key = %s\nqueue_url = %s\n",
                                  durable_queue_lines(), second.standin_port, ALPHA_WRITE_KEY, ALPHA_SIGNATURE_KEY,
                                  BETA_WRITE_KEY, BETA_SIGNATURE_KEY, far_url);
            CU_ASSERT(temporary_write(second.directory, "closecrm.conf", 0600, text, (size_t)length));
            CU_ASSERT(durable_start_anew(&second, NULL));
            check_with_two_databases(&second, near_url, far_url);
        }
        site_close(&second);
    }
    site_close(&first);
}

void suite_durable_machines(void)
{
    static CU_TestInfo tests[] = {
        {"four sources spread over two machines, each event once", four_sources_spread_over_two_machines},
        {"another machine goes on when one dies", another_machine_goes_on_when_one_dies},
        {"a database that is away stops its own sources only", a_database_that_is_away_stops_its_own_sources_only},
        CU_TEST_INFO_NULL,
    };
    suite_add("durable machines", durable_use_postgresql, durable_end_postgresql, tests);
}
