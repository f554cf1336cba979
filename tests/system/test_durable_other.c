/* The database is exchanged under a whole program and its load: log, check and cron say it, Close is answered 503, and
 * what was answered 200 arrives, once the operator has put it back or has taken the other one on. */
#include "tests/suites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/postgresql.h"

#define PATIENCE_MS 60000
#define OTHER "this is not the database that this state directory has worked with"

static void say(const char *sql)
{
    struct config config = {.queue_url = NULL};
    durable_queue_config(&config);
    char *text = postgresql_run(config.queue_url, sql);
    check(text != NULL, "%s", sql);
    free(text);
}

static bool command_says(const struct site *site, const char *name, int code, const char *words)
{
    char path[PATH_SIZE];
    path_join(path, site->directory, "command.log");
    unlink(path);
    int ended = durable_command(site, name, NULL);
    char *log = temporary_read(site->directory, "command.log");
    bool says = log != NULL && strstr(log, words) != NULL;
    check(code < 0 || ended == code, "%s ends with %d: %s", name, ended, log);
    free(log);
    return says;
}

static struct load *begin_load(const struct site *site)
{
    struct load_options options = durable_load(site);
    options.refused_ms = 50;
    options.pause_ms = 5;
    struct load *load = load_start(&options);
    CU_ASSERT_TRUE(load_wait_ok(load, durable_share(200), durable_patience(PATIENCE_MS)));
    return load;
}

static void check_refused(struct site *site, struct load *load)
{
    CU_ASSERT_TRUE(site_wait_logged(site, OTHER, 1, durable_patience(PATIENCE_MS)));
    size_t ok = load_ok(load);
    CU_ASSERT_TRUE(command_says(site, "check", 1, OTHER));
    CU_ASSERT_TRUE(command_says(site, "check", 1, " queue adopt`"));
    CU_ASSERT_EQUAL(load_ok(load), ok);
}

static void check_quiet(struct site *site, struct load *load)
{
    CU_ASSERT_TRUE(load_wait_ok(load, durable_share(200), durable_patience(PATIENCE_MS)));
    load_stop(load);
    CU_ASSERT_FALSE(command_says(site, "check", -1, "the queue cannot be used"));
}

static void check_all(struct site *site, struct load *load)
{
    struct load_result result = load_finish(load);
    CU_ASSERT(result.other == 503 || result.other == 0); /* 0: on a busy machine nothing was sent meanwhile */
    CU_ASSERT_TRUE(durable_wait_empty(site, durable_patience(PATIENCE_MS)));
    durable_check_delivered(site, load, result);
    load_free(load);
}

static void a_schema_that_is_put_back(void)
{
    struct site site;
    if (durable_open(&site, &setup_apache_proxy, NULL)) {
        struct load *load = begin_load(&site);
        say("ALTER SCHEMA closecrm RENAME TO elsewhere");
        check_refused(&site, load);
        CU_ASSERT_TRUE(command_says(&site, "cron", -1, OTHER));
        say("ALTER SCHEMA elsewhere RENAME TO closecrm");
        check_quiet(&site, load);
        check_all(&site, load);
    }
    site_close(&site);
}

/* What waits in the old one is delivered from there, when that is taken on again. */
static void a_queue_that_begins_anew(void)
{
    struct site site;
    if (durable_open(&site, &setup_apache_proxy, NULL)) {
        struct load *load = begin_load(&site);
        say("ALTER SCHEMA closecrm RENAME TO elsewhere");
        check_refused(&site, load);
        CU_ASSERT_EQUAL(durable_command(&site, "queue", "adopt"), 0);
        check_quiet(&site, load);
        CU_ASSERT_TRUE(durable_wait_empty(&site, durable_patience(PATIENCE_MS)));
        say("BEGIN; ALTER SCHEMA closecrm RENAME TO later; ALTER SCHEMA elsewhere RENAME TO closecrm; COMMIT");
        CU_ASSERT_TRUE(command_says(&site, "check", 1, "found the queue "));
        CU_ASSERT_EQUAL(durable_command(&site, "queue", "adopt"), 0);
        check_all(&site, load);
    }
    site_close(&site);
}

void suite_durable_other(void)
{
    static CU_TestInfo tests[] = {
        {"a schema that is put back", a_schema_that_is_put_back},
        {"a queue that begins anew", a_queue_that_begins_anew},
        CU_TEST_INFO_NULL,
    };
    suite_add("durable other", durable_use_postgresql, durable_end_postgresql, tests);
}
