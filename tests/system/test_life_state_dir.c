/* state_dir is changed while events wait: what is in the old directory is told, and comes once that is mended. */
#include "tests/suites.h"

#include <CUnit/CUnit.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"
#include "tests/support/durable.h"
#include "tests/support/running.h"
#include "tests/support/site.h"

#define SOON_MS 60000
#define BEFORE 50
#define AFTER 3
#define IS_LEFT "/state, which was the state directory until state_dir was changed: nothing delivers them"

typedef void take_on(struct site *site); /* returns when the new configuration is taken on */

static void by_sighup(struct site *site)
{
    size_t started = site_count_logged(site, "msg=started"), opened = site_opened(site);
    kill(site->program.pid, SIGHUP);
    CU_ASSERT(site_wait_logged(site, "msg=started", started + 1, SOON_MS));
    site_wait_opened(site, opened + 1);
}

static void by_restart(struct site *site)
{
    CU_ASSERT_EQUAL(process_stop(&site->program, SOON_MS), 0);
    size_t opened = site_opened(site);
    CU_ASSERT(site_spawn(site));
    site_wait_opened(site, opened + 1);
}

static void send_some(struct site *site, size_t first, size_t count)
{
    char id[32];
    for (size_t i = first; i < first + count; i++) {
        snprintf(id, sizeof id, "ev_%zu", i);
        CU_ASSERT_EQUAL(site_send(site, id).status, 200);
    }
}

/* Whether a command says it, and fails; not one that only shows, nor what tries a new configuration. */
static bool says_left(struct site *site, const char *command, const char *more)
{
    struct output output = command_output(site, command, more);
    return strstr(output.text, "50 events wait in /") != NULL && strstr(output.text, IS_LEFT) != NULL &&
           output.code == (more == NULL ? 1 : 0);
}

static void put_back_by_sighup(struct site *site)
{
    site_configure(site, "state_dir = state");
    by_sighup(site);
}

static void put_back_by_restart(struct site *site)
{
    site_configure(site, "state_dir = state");
    by_restart(site);
}

/* What is advised, as it is typed; what waits for its next attempt is not due at once. */
static void deliver_from_there(struct site *site)
{
    char program[PATH_SIZE], config[PATH_SIZE * 2], state[PATH_SIZE * 2];
    site_program(site, program);
    snprintf(config, sizeof config, "CLOSECRM_CONFIG=%s/closecrm.conf", site->directory);
    snprintf(state, sizeof state, "CLOSECRM_STATE_DIR=%s/state", site->directory);
    const char *words[] = {program, "forward", NULL}, *environment[] = {config, state, NULL};
    moment deadline = clock_now() + SOON_MS;
    while (standin_counts(site->standin).messages < BEFORE + AFTER && clock_now() < deadline) {
        struct process command = {0};
        int status = -1;
        CU_ASSERT(process_start(&command, &(struct process_options){words, environment, site->directory, "/dev/null"}));
        CU_ASSERT(process_wait(&command, SOON_MS, &status));
        CU_ASSERT_EQUAL(status, 0);
        process_stop(&command, SOON_MS);
    }
}

/* What was accepted is in the old directory, and comes, once, when it is mended. */
static void check_state_dir_changed(take_on *act, void (*mend)(struct site *site))
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, "state_dir = state")) {
        standin_fail(site.standin,
                     &(struct standin_fault){.act = STANDIN_ANSWER, .status = 500, .times = STANDIN_ALWAYS});
        send_some(&site, 0, BEFORE);
        site_configure(&site, "state_dir = state2");
        act(&site);
        standin_heal(site.standin);
        send_some(&site, BEFORE, AFTER);
        CU_ASSERT(standin_wait_messages(site.standin, AFTER, SOON_MS));
        CU_ASSERT(site_wait_logged(&site, "/state\" waiting=50 dead=0 ", 1, SOON_MS));
        CU_ASSERT(says_left(&site, "check", NULL));
        CU_ASSERT(says_left(&site, "check", "--offline"));
        CU_ASSERT(says_left(&site, "cron", NULL));
        CU_ASSERT(says_left(&site, "queue", "status"));

        mend(&site);
        CU_ASSERT(standin_wait_messages(site.standin, BEFORE + AFTER, SOON_MS));
        CU_ASSERT(durable_wait_empty(&site, SOON_MS));
        CU_ASSERT_EQUAL(standin_counts(site.standin).repeated, 0);
        struct output output = command_output(&site, "check", NULL);
        CU_ASSERT_PTR_NULL(strstr(output.text, "which was the state directory"));
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

static void what_waits_where_state_dir_was_is_told_after_sighup(void)
{
    check_state_dir_changed(by_sighup, put_back_by_sighup);
}

static void what_waits_where_state_dir_was_is_told_after_a_restart(void)
{
    check_state_dir_changed(by_restart, put_back_by_restart);
}

static void what_waits_where_state_dir_was_is_delivered_from_there(void)
{
    check_state_dir_changed(by_sighup, deliver_from_there);
}

/* What it accepts would go to the data plane of the first. */
static void a_second_configuration_is_logged(void)
{
    struct site site;
    if (site_open(&site, &setup_lighttpd_spawn, "state_dir = state")) {
        char program[PATH_SIZE], first[PATH_SIZE], config[PATH_SIZE * 2], log[PATH_SIZE];
        struct process follow = {0};
        site_program(&site, program);
        path_join(first, site.directory, "closecrm.conf");
        path_join(log, site.directory, "follow.log");
        snprintf(config, sizeof config, "CLOSECRM_CONFIG=%s/second.conf", site.directory);
        CU_ASSERT(temporary_copy(site.directory, "second.conf", 0600, first));
        CU_ASSERT(site_wait_logged(&site, "msg=forwards", 1, SOON_MS));
        const char *words[] = {program, "forward", "--follow", NULL}, *environment[] = {config, NULL};
        CU_ASSERT(process_start(&follow, &(struct process_options){words, environment, site.directory, log}));
        bool told = false;
        for (moment deadline = clock_now() + SOON_MS; !told && clock_now() < deadline; poll(NULL, 0, 20)) {
            char *text = temporary_read(site.directory, "follow.log");
            told = text != NULL && strstr(text, "msg=state_dir_shared configuration=\"") != NULL &&
                   strstr(text, "/closecrm.conf\"") != NULL;
            free(text);
        }
        CU_ASSERT(told);
        CU_ASSERT_EQUAL(process_stop(&follow, SOON_MS), 0);
        CU_ASSERT_EQUAL(site_count_logged(&site, "msg=state_dir_shared"), 0);
    }
    CU_ASSERT_EQUAL(site_close(&site), 0);
}

void suite_life_state_dir(void)
{
    static CU_TestInfo tests[] = {
        {"SIGHUP", what_waits_where_state_dir_was_is_told_after_sighup},
        {"a restart", what_waits_where_state_dir_was_is_told_after_a_restart},
        {"it is delivered from there", what_waits_where_state_dir_was_is_delivered_from_there},
        {"a second configuration is logged", a_second_configuration_is_logged},
        CU_TEST_INFO_NULL,
    };
    suite_add("life: state_dir is changed", NULL, NULL, tests);
}
