/* The calendar's clock of this process, as base/clock.h reads it, may be set forward: everything else stays. */
#ifndef TESTS_SUPPORT_SHIFTED_CLOCK_H
#define TESTS_SUPPORT_SHIFTED_CLOCK_H

#include <stdint.h>

/* By how much in all; 0: the true clock. */
void shifted_clock_set(int64_t hours);

#endif
