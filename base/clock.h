/* Clocks: monotonic time for deadlines and delays, calendar time for what people read. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* A point in time on the monotonic clock, in milliseconds. Comparable within one process only. */
typedef int64_t moment;

#define MOMENT_NEVER INT64_MAX

/* Now, on CLOCK_MONOTONIC. Never fails. */
moment clock_now(void);

/* Unix time in milliseconds, from CLOCK_REALTIME, which can jump. */
int64_t clock_unix_ms(void);

/* Milliseconds from now until then, as a timeout for poll(2): 0 when it has passed, -1 for MOMENT_NEVER, at most
 * INT_MAX. */
int clock_until(moment then);

/* Converts a moment for calls that take an absolute CLOCK_MONOTONIC time, such as clock_nanosleep. */
struct timespec clock_timespec(moment then);

/* Converts a file time such as st_mtim to milliseconds. */
int64_t clock_timespec_ms(struct timespec time);

/* Initializes a condition variable that waits on the monotonic clock. Returns false on failure. */
bool clock_condition_init(pthread_cond_t *condition);

/* Waits, with the mutex held, until the condition is signalled or the deadline has passed (MOMENT_NEVER: no deadline).
 * Returns false when the deadline has passed. true may be a spurious wakeup: check the predicate again. condition:
 * initialized by clock_condition_init. */
bool clock_condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, moment until);

#endif
