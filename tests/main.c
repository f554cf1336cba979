/* Runs every suite, or those that an argument selects, side by side, and closes with CUnit's summary. Arguments:
 *   NAME    the suites whose names begin so; NAME$: the suite of this name
 *   LAYER/  the suites of tests/LAYER: unit/, component/, system/
 *   -NAME   (or -NAME$, -LAYER/) leaves these out, whatever else selects them
 * All suites are in one program, and each runs in a process of its own: as apart from each other as with a program for
 * each, but linked once (a hundred programs with the whole of the sources in each take longer to link than to run). */
#include "tests/parallel.h"
#include "tests/suites.h"

#include <CUnit/Basic.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined __SANITIZE_THREAD__
#define JOBS_FOR_EACH_PROCESSOR 2
#elif defined __SANITIZE_ADDRESS__
#define JOBS_FOR_EACH_PROCESSOR 3
#else
#define JOBS_FOR_EACH_PROCESSOR 4
#endif

static int argument_count;
static char **argument_list;
static int arguments_that_select; /* all but those that leave suites out */
static bool suites_are_named;     /* and not only their layer */
static unsigned seed_given;       /* 0: none */

// clang-format off: one a line
static void (*const suites[])(void) = {
    suite_transform_memory,
    suite_alerts,
    suite_alert_webhook,
    suite_closeapi,
    suite_commands,
    suite_commands_check,
    suite_commands_postgresql,
    suite_commands_left,
    suite_commands_cron,
    suite_commands_alerts,
    suite_last_errors,
    suite_commands_dead,
    suite_commands_forget,
    suite_commands_forget_postgresql,
    suite_commands_pager,
    suite_commands_place,
    suite_commands_queue,
    suite_commands_send_test,
    suite_commands_state,
    suite_commands_wrong,
    suite_commands_terminal,
    suite_commands_transform,
    suite_commands_words,
    suite_config,
    suite_config_close,
    suite_config_environment,
    suite_config_faults,
    suite_config_files,
    suite_config_mistakes,
    suite_config_mutations,
    suite_config_places,
    suite_config_print,
    suite_config_values,
    suite_counters,
    suite_crash_guard,
    suite_forward,
    suite_forwarder,
    suite_post,
    suite_forwarder_answers,
    suite_forwarder_person,
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
    suite_state_place,
    suite_queue_model,
    suite_queue_move,
    suite_queue_salvage,
    suite_queue_left_over,
    suite_small_file,
    suite_queue_repair_writes,
    suite_queue_kept_sqlite,
    suite_queue_kept_postgresql,
    suite_queue_sqlite,
    suite_queue_sqlite_checkpoints,
    suite_queue_sqlite_displaced,
    suite_queue_sqlite_rescue,
    suite_queue_sqlite_memory,
    suite_queue_sqlite_locks,
    suite_queue_sqlite_open,
    suite_queue_sqlite_room,
    suite_queue_sqlite_processes,
    suite_attempts,
    suite_recent,
    suite_signed,
    suite_status,
    suite_status_page,
    suite_status_access,
    suite_status_servers,
    suite_status_tools,
    suite_status_health,
    suite_advice,
    suite_findings,
    suite_health_rows,
    suite_base,
    suite_transform,
    suite_transform_mutations,
    suite_transform_nul,
    suite_transform_warehouse,
    suite_transform_warehouse_rows,
    suite_transform_person,
    suite_transform_options,
    suite_transform_rules,
    suite_warehouse,
    suite_webhook_choose,
    suite_webhook_keys,
    suite_webhook_request,
    suite_webhook_signature,
    suite_sha256,
    suite_close_backup,
    suite_close_move,
    suite_close_loss,
    suite_close_lost,
    suite_durable_displaced,
    suite_durable_duplicates,
    suite_storm,
    suite_upgrade,
    suite_durable_locks,
    suite_waiting,
    suite_durable_poison,
    suite_durable_sync,
    suite_faults,
    suite_few_threads,
    suite_confined,
    suite_file_systems,
    suite_hanging,
    suite_hosts,
    suite_life_gate,
    suite_confine,
    suite_memory,
    suite_set_aside,
    suite_standin,

    // The slowest, so that these begin first when suites run side by side.
    suite_transform_dates,
    suite_forwarder_durable,
    suite_forwarder_parked,
    suite_queue_repair,
    suite_queue_filter,
    suite_queue_remember,
    suite_queue_version,
    suite_servers,
    suite_close,
    suite_close_subscribe,
    suite_close_rotate,
    suite_durable_clock,
    suite_life_cgi,
    suite_no_libcurl,
    suite_cgi_child,
    suite_close_reconcile,
    suite_queue_sqlite_faults,
    suite_lifecycle,
    suite_durable_lifecycle,
    suite_status_alerts,
    suite_admin_servers,
    suite_close_backfill,
    suite_durable_disk,
    suite_life,
    suite_life_processes,
    suite_life_state_dir,
    suite_durable_outcomes,
    suite_durable_kill,
    suite_delivery,
    suite_durable_processes,
    suite_kept_files,
#ifdef CLOSECRM_POSTGRESQL
    suite_queue_postgresql,
    suite_queue_postgresql_faults,
    suite_queue_postgresql_other,
    suite_queue_migrate,
    suite_queue_migrate_marks,
    suite_queue_migrate_words,
    suite_queue_migrate_gone,
    suite_queue_migrate_database,
    suite_queue_migrate_model,
    suite_durable_migrate,
    suite_durable_other,
    suite_queue_spread,
    suite_queue_routes,
    suite_kept_postgresql,
    suite_kept_machines,
    suite_kept_told,
    suite_kept_counts,
    suite_kept_recent,
    suite_status_machines,
    suite_close_machines,
    suite_close_backfill_postgresql,
    suite_close_reconcile_postgresql,
    suite_close_subscribe_postgresql,
    suite_close_rotate_postgresql,
    suite_durable_kill_postgresql,
    suite_durable_duplicates_postgresql,
    suite_durable_outcomes_postgresql,
    suite_durable_processes_postgresql,
    suite_durable_machines,
    suite_waiting_postgresql,
    suite_queue_letters_postgresql,
    suite_queue_pairs,
    suite_queue_pairs_postgresql,
    suite_queue_look_postgresql,
    suite_queue_model_postgresql,
    suite_commands_dead_postgresql,
    suite_commands_queue_postgresql,
    suite_forwarder_durable_postgresql,
    suite_forwarder_parked_postgresql,
    suite_upgrade_postgresql,
    suite_queue_version_postgresql,
    suite_queue_move_postgresql,
    suite_durable_poison_postgresql,
    suite_durable_lifecycle_postgresql,
    suite_lifecycle_postgresql,
    suite_status_alerts_postgresql,
    suite_status_servers_postgresql,
#endif
};
// clang-format on

static bool has_prefix(const char *text, const char *prefix, size_t length)
{
    return strncmp(text, prefix, length) == 0;
}

/* Whether an argument, without its `-`, selects a suite. */
static bool selects(const char *argument, const char *file, const char *name)
{
    static const char tests[] = "tests/";
    size_t length = strlen(argument);
    char end = length == 0 ? '\0' : argument[length - 1];
    if (end == '/')
        return has_prefix(file, tests, strlen(tests)) && has_prefix(file + strlen(tests), argument, length);
    if (end == '$')
        return strlen(name) == length - 1 && has_prefix(name, argument, length - 1);
    return has_prefix(name, argument, length);
}

static bool is_wanted(const char *file, const char *name)
{
    bool wanted = arguments_that_select == 0;
    for (int i = 0; i < argument_count; i++) {
        const char *argument = argument_list[i];
        if (argument[0] == '-' && selects(argument + 1, file, name))
            return false;
        wanted = wanted || (argument[0] != '-' && selects(argument, file, name));
    }
    return wanted;
}

void suite_add_from(const char *file, const char *name, CU_InitializeFunc init, CU_CleanupFunc clean,
                    CU_TestInfo *tests)
{
    if (!is_wanted(file, name))
        return;
    CU_SuiteInfo suite[] = {{name, init, clean, NULL, NULL, tests}, CU_SUITE_INFO_NULL};
    if (CU_register_suites(suite) != CUE_SUCCESS) {
        fprintf(stderr, "suite %s: %s\n", name, CU_get_error_msg());
        exit(1);
    }
}

void suite_add_if_named_from(const char *file, const char *name, CU_InitializeFunc init, CU_CleanupFunc clean,
                             CU_TestInfo *tests)
{
    if (suites_are_named)
        suite_add_from(file, name, init, clean, tests);
}

/* A single suite: in this process, where a debugger finds it. */
static bool run_here(void)
{
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_ErrorCode error = CU_basic_run_tests();
    return error == CUE_SUCCESS && CU_get_number_of_failures() + CU_get_number_of_suites_failed() == 0;
}

/* A number from the environment, or 0. Such a variable is for this program only: closecrm.fcgi would take it for a key
 * of its configuration. */
static unsigned number_from_environment(const char *variable)
{
    const char *text = getenv(variable);
    unsigned number = text == NULL ? 0 : (unsigned)strtoul(text, NULL, 10);
    unsetenv(variable);
    return number;
}

unsigned suite_seed(unsigned otherwise)
{
    return seed_given != 0 ? seed_given : otherwise;
}

/* CLOSECRM_TEST_JOBS, or several for each processor: most suites wait for servers most of the time. The sanitizers'
 * programs have more to do meanwhile. */
static size_t jobs_at_once(void)
{
    unsigned wanted = number_from_environment("CLOSECRM_TEST_JOBS");
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (wanted > 0)
        return wanted;
    return (size_t)((processors < 1 ? 1 : processors) * JOBS_FOR_EACH_PROCESSOR);
}

static void read_arguments(int count, char **list)
{
    static const char usage[] = "usage: all [NAME | NAME$ | LAYER/ | -NAME ...], of tests/main.c\n";
    for (int i = 0; i < count; i++) {
        if (strncmp(list[i], "--", 2) == 0) { /* --help: not everything but "-help" */
            fputs(usage, stderr);
            exit(2);
        }
    }
    argument_count = count;
    argument_list = list;
    for (int i = 0; i < count; i++) {
        if (list[i][0] == '-')
            continue;
        arguments_that_select++;
        suites_are_named = suites_are_named || strchr(list[i], '/') == NULL;
    }
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    read_arguments(argc - 1, argv + 1);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++)
        suites[i]();
    if (CU_get_registry()->uiNumberOfTests == 0) {
        fprintf(stderr, "no suite has that name\n");
        return 1;
    }
    size_t jobs = jobs_at_once();
    seed_given = number_from_environment("CLOSECRM_TEST_SEED");
    bool passed = CU_get_registry()->uiNumberOfSuites > 1 ? parallel_run(jobs, seed_given) : run_here();
    CU_cleanup_registry();
    return passed ? 0 : 1;
}
