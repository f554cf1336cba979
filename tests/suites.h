/* Every suite registers itself with CUnit by one function; tests/main.c calls them all. */
#ifndef TESTS_SUITES_H
#define TESTS_SUITES_H

#include <CUnit/CUnit.h>

/* Adds a suite with its tests, of the layer in whose folder its file stands; ends the program when CUnit cannot. tests
 * ends with CU_TEST_INFO_NULL. */
#define suite_add(name, init, clean, tests) suite_add_from(__FILE__, name, init, clean, tests)

/* The same for a suite that needs more than a test machine has: only where it is asked for by its name. */
#define suite_add_if_named(name, init, clean, tests) suite_add_if_named_from(__FILE__, name, init, clean, tests)

void suite_add_from(const char *file, const char *name, CU_InitializeFunc init, CU_CleanupFunc clean,
                    CU_TestInfo *tests);
void suite_add_if_named_from(const char *file, const char *name, CU_InitializeFunc init, CU_CleanupFunc clean,
                             CU_TestInfo *tests);

/* What CLOSECRM_TEST_SEED says, for random numbers as in the run that printed them; where it says nothing, otherwise.
 */
unsigned suite_seed(unsigned otherwise);

void suite_alerts(void);
void suite_alert_webhook(void);
void suite_close(void);
void suite_close_subscribe(void);
void suite_close_rotate(void);
void suite_close_backfill(void);
void suite_close_backup(void);
void suite_close_move(void);
void suite_close_loss(void);
void suite_close_lost(void);
void suite_close_reconcile(void);
void suite_closeapi(void);
void suite_commands(void);
void suite_commands_check(void);
void suite_commands_cron(void);
void suite_commands_alerts(void);
void suite_last_errors(void);
void suite_commands_dead(void);
void suite_commands_forget(void);
void suite_commands_pager(void);
void suite_commands_place(void);
void suite_commands_queue(void);
void suite_commands_send_test(void);
void suite_commands_state(void);
void suite_commands_wrong(void);
void suite_commands_terminal(void);
void suite_commands_transform(void);
void suite_commands_words(void);
void suite_config(void);
void suite_config_close(void);
void suite_config_environment(void);
void suite_config_faults(void);
void suite_config_files(void);
void suite_config_mistakes(void);
void suite_config_mutations(void);
void suite_config_places(void);
void suite_config_print(void);
void suite_confine(void);
void suite_confined(void);
void suite_config_values(void);
void suite_counters(void);
void suite_crash_guard(void);
void suite_delivery(void);
void suite_durable_clock(void);
void suite_durable_disk(void);
void suite_durable_displaced(void);
void suite_durable_duplicates(void);
void suite_durable_duplicates_postgresql(void);
void suite_durable_kill(void);
void suite_durable_kill_postgresql(void);
void suite_durable_lifecycle(void);
void suite_durable_locks(void);
void suite_waiting(void);
void suite_durable_outcomes(void);
void suite_durable_outcomes_postgresql(void);
void suite_durable_poison(void);
void suite_durable_processes(void);
void suite_durable_processes_postgresql(void);
void suite_durable_machines(void);
void suite_durable_sync(void);
void suite_faults(void);
void suite_few_threads(void);
void suite_file_systems(void);
void suite_forward(void);
void suite_forwarder(void);
void suite_forwarder_durable(void);
void suite_forwarder_answers(void);
void suite_forwarder_person(void);
void suite_forwarder_search(void);
void suite_forwarder_settles(void);
void suite_hanging(void);
void suite_hosts(void);
void suite_housekeeper(void);
void suite_forwarder_crash(void);
void suite_forwarder_starved(void);
void suite_http_cgi(void);
void suite_http_fastcgi(void);
void suite_http_limits(void);
void suite_http_peers(void);
void suite_http_request(void);
void suite_http_room(void);
void suite_http_stopping(void);
void suite_memory(void);
void suite_json(void);
void suite_json_texts(void);
void suite_json_tree(void);
void suite_life(void);
void suite_life_cgi(void);
void suite_no_libcurl(void);
void suite_cgi_child(void);
void suite_life_gate(void);
void suite_life_processes(void);
void suite_life_state_dir(void);
void suite_lifecycle(void);
void suite_log(void);
void suite_owner(void);
void suite_queue(void);
void suite_queue_letters(void);
void suite_queue_look(void);
void suite_state_place(void);
void suite_queue_model(void);
void suite_queue_move(void);
void suite_queue_filter(void);
void suite_queue_remember(void);
void suite_queue_version(void);
void suite_queue_repair(void);
void suite_queue_salvage(void);
void suite_queue_left_over(void);
void suite_small_file(void);
void suite_queue_repair_writes(void);
void suite_queue_sqlite(void);
void suite_queue_kept_sqlite(void);
void suite_queue_kept_postgresql(void);
void suite_queue_postgresql(void);
void suite_queue_postgresql_faults(void);
void suite_queue_postgresql_other(void);
void suite_queue_migrate(void);
void suite_durable_migrate(void);
void suite_queue_spread(void);
void suite_queue_routes(void);
void suite_kept_files(void);
void suite_kept_postgresql(void);
void suite_kept_machines(void);
void suite_kept_told(void);
void suite_close_machines(void);
void suite_close_backfill_postgresql(void);
void suite_close_reconcile_postgresql(void);
void suite_close_subscribe_postgresql(void);
void suite_close_rotate_postgresql(void);
void suite_queue_sqlite_checkpoints(void);
void suite_queue_sqlite_displaced(void);
void suite_queue_sqlite_rescue(void);
void suite_queue_sqlite_faults(void);
void suite_queue_sqlite_memory(void);
void suite_queue_sqlite_locks(void);
void suite_queue_sqlite_open(void);
void suite_queue_sqlite_room(void);
void suite_queue_sqlite_processes(void);
void suite_attempts(void);
void suite_recent(void);
void suite_servers(void);
void suite_signed(void);
void suite_set_aside(void);
void suite_standin(void);
void suite_status(void);
void suite_status_page(void);
void suite_admin_servers(void);
void suite_status_access(void);
void suite_status_alerts(void);
void suite_status_servers(void);
void suite_status_tools(void);
void suite_status_health(void);
void suite_advice(void);
void suite_findings(void);
void suite_health_rows(void);
void suite_storm(void);
void suite_base(void);
void suite_transform(void);
void suite_transform_dates(void);
void suite_transform_memory(void);
void suite_transform_mutations(void);
void suite_transform_nul(void);
void suite_transform_warehouse(void);
void suite_transform_warehouse_rows(void);
void suite_transform_person(void);
void suite_transform_options(void);
void suite_transform_rules(void);
void suite_upgrade(void);
void suite_warehouse(void);
void suite_webhook_choose(void);
void suite_webhook_keys(void);
void suite_webhook_request(void);
void suite_webhook_signature(void);
void suite_sha256(void);

#endif
