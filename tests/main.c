/* Runs every suite, or those whose names begin with one of the arguments (NAME$: whose name is NAME), side by side, and
 * closes with CUnit's summary. */
#include "tests/parallel.h"
#include "tests/suites.h"

#include <CUnit/Basic.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
#define IS_SLOW 1
#else
#define IS_SLOW 0
#endif

static int wanted_count;
static char **wanted;

// clang-format off: one a line
static void (*const suites[])(void) = {
    suite_transform_memory,
    suite_alerts,
    suite_close,
    suite_closeapi,
    suite_commands,
    suite_commands_check,
    suite_commands_cron,
    suite_commands_dead,
    suite_commands_pager,
    suite_commands_place,
    suite_commands_queue,
    suite_commands_send_test,
    suite_commands_state,
    suite_commands_transform,
    suite_commands_words,
    suite_config,
    suite_config_close,
    suite_config_environment,
    suite_config_files,
    suite_config_mistakes,
    suite_config_mutations,
    suite_config_places,
    suite_config_print,
    suite_config_values,
    suite_counters,
    suite_crumb,
    suite_forward,
    suite_forwarder,
    suite_forwarder_answers,
    suite_forwarder_search,
    suite_forwarder_crash,
    suite_forwarder_settles,
    suite_forwarder_starved,
    suite_http_cgi,
    suite_http_fastcgi,
    suite_http_limits,
    suite_http_peers,
    suite_http_request,
    suite_http_room,
    suite_http_stopping,
    suite_json,
    suite_json_texts,
    suite_json_tree,
    suite_log,
    suite_owner,
    suite_queue,
    suite_queue_letters,
    suite_housekeeper,
    suite_queue_look,
    suite_queue_move,
    suite_queue_salvage,
    suite_queue_left_over,
    suite_small_file,
    suite_queue_repair_writes,
    suite_queue_sqlite,
    suite_queue_sqlite_checkpoints,
    suite_queue_sqlite_displaced,
    suite_queue_sqlite_locks,
    suite_queue_sqlite_room,
    suite_queue_sqlite_processes,
    suite_recent,
    suite_signed,
    suite_status,
    suite_status_access,
    suite_status_alerts,
    suite_status_servers,
    suite_status_tools,
    suite_status_health,
    suite_findings,
    suite_health_rows,
    suite_base,
    suite_transform,
    suite_transform_mutations,
    suite_transform_rules,
    suite_webhook_choose,
    suite_webhook_keys,
    suite_webhook_request,
    suite_webhook_signature,
    suite_close_backup,
    suite_close_move,
    suite_close_loss,
    suite_close_lost,
    suite_durable_clock,
    suite_durable_displaced,
    suite_durable_duplicates,
    suite_durable_kill,
    suite_storm,
    suite_upgrade,
    suite_durable_lifecycle,
    suite_durable_locks,
    suite_durable_outcomes,
    suite_durable_poison,
    suite_durable_sync,
    suite_few_threads,
    suite_file_systems,
    suite_hanging,
    suite_hosts,
    suite_life_gate,
    suite_life_processes,
    suite_lifecycle,
    suite_memory,
    suite_admin_servers,
    suite_set_aside,
    suite_standin,

    // The slowest, so that these begin first when suites run side by side.
    suite_transform_dates,
    suite_forwarder_durable,
    suite_queue_repair,
    suite_durable_processes,
    suite_life_cgi,
    suite_close_backfill,
    suite_queue_remember,
    suite_delivery,
    suite_close_reconcile,
    suite_durable_disk,
    suite_queue_sqlite_faults,
    suite_life,
    suite_servers,
};
// clang-format on

static bool matches(const char *name, const char *argument)
{
    size_t length = strlen(argument);
    bool whole = length > 0 && argument[length - 1] == '$';
    return strncmp(name, argument, whole ? length - 1 : length) == 0 && (!whole || strlen(name) == length - 1);
}

static bool is_wanted(const char *name)
{
    for (int i = 0; i < wanted_count; i++) {
        if (matches(name, wanted[i]))
            return true;
    }
    return wanted_count == 0;
}

void suite_add(const char *name, CU_InitializeFunc init, CU_CleanupFunc clean, CU_TestInfo *tests)
{
    if (!is_wanted(name))
        return;
    CU_SuiteInfo suite[] = {{name, init, clean, NULL, NULL, tests}, CU_SUITE_INFO_NULL};
    if (CU_register_suites(suite) != CUE_SUCCESS) {
        fprintf(stderr, "suite %s: %s\n", name, CU_get_error_msg());
        exit(1);
    }
}

void suite_add_if_named(const char *name, CU_InitializeFunc init, CU_CleanupFunc clean, CU_TestInfo *tests)
{
    if (wanted_count > 0)
        suite_add(name, init, clean, tests);
}

/* A single suite: in this process, where a debugger finds it. */
static bool run_here(void)
{
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_ErrorCode error = CU_basic_run_tests();
    return error == CUE_SUCCESS && CU_get_number_of_failures() + CU_get_number_of_suites_failed() == 0;
}

/* CLOSECRM_TEST_JOBS, or two for each processor: most suites wait for servers most of the time. ThreadSanitizer has
 * more to do meanwhile. */
static size_t jobs_at_once(void)
{
    const char *text = getenv("CLOSECRM_TEST_JOBS");
    long jobs = text == NULL ? 0 : strtol(text, NULL, 10);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (jobs > 0)
        return (size_t)jobs;
    if (processors < 1)
        processors = 1;
    return (size_t)(IS_SLOW ? processors + 1 : 2 * processors);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    wanted_count = argc - 1;
    wanted = argv + 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++)
        suites[i]();
    if (CU_get_registry()->uiNumberOfTests == 0) {
        fprintf(stderr, "no suite has that name\n");
        return 1;
    }
    bool passed = CU_get_registry()->uiNumberOfSuites > 1 ? parallel_run(jobs_at_once()) : run_here();
    CU_cleanup_registry();
    return passed ? 0 : 1;
}
