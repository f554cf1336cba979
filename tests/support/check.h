/* Assertions that say what was expected of whom: most of these tests go through tables. */
#ifndef TESTS_SUPPORT_CHECK_H
#define TESTS_SUPPORT_CHECK_H

#include <stdbool.h>

/* A CUnit assertion with a sentence, printf-like, in place of its source text. Returns the condition. */
bool check(bool condition, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
