/* The two clocks: one that only goes forward, for deadlines and delays, and the calendar's, for what people read. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* A moment on the monotonic clock, in milliseconds. Comparable within one process only. */
typedef int64_t moment;

#define MOMENT_NEVER INT64_MAX

/* Now, on CLOCK_MONOTONIC. Never fails. */
moment clock_now(void);

/* Unix time in milliseconds, on CLOCK_REALTIME: it may jump. */
int64_t clock_unix_ms(void);

/* Milliseconds from now until then for poll(2): 0 when it has passed, -1 for MOMENT_NEVER, never over INT_MAX. */
int clock_until(moment then);

#endif
