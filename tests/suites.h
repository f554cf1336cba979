/* Every suite registers itself with CUnit by one function; tests/main.c calls them all. */
#ifndef TESTS_SUITES_H
#define TESTS_SUITES_H

#include <CUnit/CUnit.h>

/* Adds a suite with its tests; ends the program when CUnit cannot. tests ends with CU_TEST_INFO_NULL. */
void suite_add(const char *name, CU_InitializeFunc init, CU_CleanupFunc clean, CU_TestInfo *tests);

void suite_log(void);
void suite_transform(void);
void suite_json(void);
void suite_json_texts(void);
void suite_json_tree(void);
void suite_transform_dates(void);
void suite_transform_rules(void);
void suite_transform_memory(void);
void suite_transform_mutations(void);

#endif
