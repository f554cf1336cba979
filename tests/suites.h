/* Every suite registers itself with CUnit by one function; tests/main.c calls them all. */
#ifndef TESTS_SUITES_H
#define TESTS_SUITES_H

#include <CUnit/CUnit.h>

/* Adds a suite with its tests; ends the program when CUnit cannot. tests ends with CU_TEST_INFO_NULL. */
void suite_add(const char *name, CU_InitializeFunc init, CU_CleanupFunc clean, CU_TestInfo *tests);

/* The same for a suite that needs more than a test machine has: only where it is asked for by its name. */
void suite_add_if_named(const char *name, CU_InitializeFunc init, CU_CleanupFunc clean, CU_TestInfo *tests);

void suite_alerts(void);
void suite_close(void);
void suite_close_backfill(void);
void suite_close_reconcile(void);
void suite_closeapi(void);
void suite_commands(void);
void suite_commands_check(void);
void suite_commands_dead(void);
void suite_commands_place(void);
void suite_commands_queue(void);
void suite_commands_send_test(void);
void suite_commands_state(void);
void suite_commands_transform(void);
void suite_commands_words(void);
void suite_config(void);
void suite_config_close(void);
void suite_config_environment(void);
void suite_config_files(void);
void suite_config_mistakes(void);
void suite_config_mutations(void);
void suite_config_places(void);
void suite_config_print(void);
void suite_config_values(void);
void suite_counters(void);
void suite_crumb(void);
void suite_delivery(void);
void suite_durable_clock(void);
void suite_durable_disk(void);
void suite_durable_duplicates(void);
void suite_durable_kill(void);
void suite_durable_lifecycle(void);
void suite_durable_locks(void);
void suite_durable_outcomes(void);
void suite_durable_poison(void);
void suite_durable_processes(void);
void suite_durable_sync(void);
void suite_forward(void);
void suite_forwarder(void);
void suite_forwarder_durable(void);
void suite_http_cgi(void);
void suite_http_fastcgi(void);
void suite_http_limits(void);
void suite_http_peers(void);
void suite_http_request(void);
void suite_http_stopping(void);
void suite_hosts(void);
void suite_json(void);
void suite_json_texts(void);
void suite_json_tree(void);
void suite_life(void);
void suite_life_cgi(void);
void suite_life_gate(void);
void suite_life_processes(void);
void suite_lifecycle(void);
void suite_log(void);
void suite_queue(void);
void suite_queue_look(void);
void suite_queue_remember(void);
void suite_queue_sqlite(void);
void suite_queue_sqlite_faults(void);
void suite_queue_sqlite_locks(void);
void suite_queue_sqlite_room(void);
void suite_queue_sqlite_processes(void);
void suite_recent(void);
void suite_servers(void);
void suite_standin(void);
void suite_status(void);
void suite_status_alerts(void);
void suite_status_servers(void);
void suite_status_tools(void);
void suite_status_words(void);
void suite_transform(void);
void suite_transform_dates(void);
void suite_transform_memory(void);
void suite_transform_mutations(void);
void suite_transform_rules(void);
void suite_webhook_choose(void);
void suite_webhook_keys(void);
void suite_webhook_request(void);
void suite_webhook_signature(void);

#endif
