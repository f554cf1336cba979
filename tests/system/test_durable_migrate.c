/* `queue migrate` on a site whose data plane is away: the queue goes from one engine to the other and back between two
 * loads, and the command is SIGKILLed at random moments. What was answered 200 is delivered once, in order. */
#include "tests/suites.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"

#define EVENTS 1500
#define KILLS 6 /* at least so many tries are killed, if they have not ended before */
#define PATIENCE_MS 60000

/* Runs it, and kills it after so many milliseconds (-1: never). Returns its exit code, -1 when it was killed. */
static int migrate(const struct site *site, const char *to, int64_t ms)
{
    char program[PATH_SIZE], log[PATH_SIZE], config[PATH_SIZE * 2];
    site_program(site, program);
    path_join(log, site->directory, "command.log");
    snprintf(config, sizeof config, "CLOSECRM_CONFIG=%s/closecrm.conf", site->directory);
    const char *arguments[] = {program, "queue", "migrate", "--to", to, NULL};
    const char *environment[] = {config, NULL};
    struct process command = {0};
    int status = -1;
    CU_ASSERT_FATAL(process_start(&command, &(struct process_options){arguments, environment, site->directory, log}));
    if (ms >= 0 && !process_wait(&command, ms, &status))
        durable_signal(command.pid, SIGKILL);
    if (command.pid > 0)
        check(process_wait(&command, durable_patience(PATIENCE_MS), &status), "the move to %s ends", to);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void migrate_under_kills(const struct site *site, const char *to, unsigned *random)
{
    unsigned killed = 0;
    int code = -1;
    for (int i = 0; i < KILLS && code != 0; i++) {
        code = migrate(site, to, rand_r(random) % durable_patience(120));
        killed += code == -1;
        CU_ASSERT(code == 0 || code == -1);
    }
    if (code != 0)
        code = migrate(site, to, -1);
    CU_ASSERT_EQUAL(code, 0);
    printf("(to %s: killed %u times) ", to, killed);
}

/* The configuration with another engine, but the same address. */
static void configure_queue(struct site *site, const char *value)
{
    char lines[2048];
    snprintf(lines, sizeof lines, "queue = %s%s", value, strchr(durable_queue_lines(), '\n'));
    site_configure(site, lines);
}

static struct load *load_all(struct site *site, const char *prefix, size_t first_lead)
{
    struct load_options options = durable_load(site);
    options.count = durable_share(EVENTS);
    options.connections = 8;
    options.ordered = true;
    options.prefix = prefix;
    options.first_lead = first_lead;
    struct load *load = load_start(&options);
    struct load_result result = load_finish(load);
    check(result.ok == result.sent, "%zu of %zu are answered 200", result.ok, result.sent);
    return load;
}

static void stop_program(struct site *site)
{
    process_stop(&site->program, durable_patience(PATIENCE_MS));
}

static void check_load(struct site *site, struct load *load)
{
    CU_ASSERT_EQUAL(load_count_arrived(load, site->standin, 1), durable_share(EVENTS));
    CU_ASSERT_EQUAL(load_count_disordered(load, site->standin), 0);
    load_free(load);
}

static void start_with(struct site *site, const char *value)
{
    size_t opened = site_opened(site);
    configure_queue(site, value);
    CU_ASSERT(site_spawn(site));
    site_wait_opened(site, opened + 1);
}

static void there_and_back_under_kills(void)
{
    struct site site;
    unsigned random = suite_seed((unsigned)time(NULL));
    printf("(seed %u) ", random);
    if (durable_open(&site, &setup_apache_proxy, NULL)) {
        site_standin_down(&site);
        struct load *first = load_all(&site, "first", 0);
        check(migrate(&site, "sqlite", -1) == 1, "while the program runs it is refused");
        stop_program(&site);
        migrate_under_kills(&site, "sqlite", &random);
        start_with(&site, "sqlite");
        struct load *second = load_all(&site, "second", 100);
        stop_program(&site);
        migrate_under_kills(&site, "postgresql", &random);
        site_standin_up(&site);
        start_with(&site, "postgresql");
        CU_ASSERT(durable_wait_empty(&site, durable_patience(PATIENCE_MS)));
        check_load(&site, first);
        check_load(&site, second);
        struct counts counts = durable_counts(&site, "alpha");
        CU_ASSERT_EQUAL(counts.accepted, 2 * durable_share(EVENTS));
        CU_ASSERT_EQUAL(counts.delivered, 2 * durable_share(EVENTS));
        CU_ASSERT_EQUAL(standin_counts(site.standin).repeated, 0);
    }
    site_close(&site);
}

/* A program that was not told of the move answers 503, and says where the queue is. */
static void the_old_queue_says_where_it_went(void)
{
    struct site site;
    if (durable_open(&site, &setup_apache_proxy, NULL)) {
        stop_program(&site);
        CU_ASSERT_EQUAL(migrate(&site, "sqlite", -1), 0);
        CU_ASSERT(site_spawn(&site));
        struct load_options options = durable_load(&site);
        options.count = 1;
        struct load *load = load_start(&options);
        CU_ASSERT_EQUAL(load_finish(load).other, 503);
        load_free(load);
        CU_ASSERT(site_wait_logged(&site, "this queue was moved: it is in the state directory ", 1,
                                   durable_patience(PATIENCE_MS)));
    }
    site_close(&site);
}

void suite_durable_migrate(void)
{
    static CU_TestInfo tests[] = {
        {"the queue goes there and back, under SIGKILL", there_and_back_under_kills},
        {"the old queue says where it went", the_old_queue_says_where_it_went},
        CU_TEST_INFO_NULL,
    };
    suite_add("durable migrate", durable_use_postgresql, durable_end_postgresql, tests);
}
