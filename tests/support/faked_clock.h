/* A clock of the program's own, by libfaketime (Debian: faketime): set while it runs, or made to run faster. */
#ifndef TESTS_SUPPORT_FAKED_CLOCK_H
#define TESTS_SUPPORT_FAKED_CLOCK_H

#include <stdbool.h>

#include "tests/support/site.h"

/* Whether it can be had here: not with the sanitizers, which must be loaded first. Says so where not. */
bool faked_clock_works(void);

/* The words before the program's path for site->wrapper; static storage. The calendar's clock is the file's alone; the
 * clock that only goes forward stays. */
const char *const *faked_clock_that_jumps(const struct site *site);

/* Likewise: all clocks, and what sleeps by them, run so many times faster ("x60"). */
const char *const *faked_clock_that_runs(const char *factor);

/* Sets the calendar's clock ("-3600", "+40d") relative to the true one. */
void faked_clock_set(const struct site *site, const char *offset);

#endif
