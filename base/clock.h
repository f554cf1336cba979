/* The two clocks: one that only goes forward, for deadlines and delays, and the calendar's, for what people read. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* A moment on the monotonic clock, in milliseconds. Comparable within one process only. */
typedef int64_t moment;

#define MOMENT_NEVER INT64_MAX

/* Now, on CLOCK_MONOTONIC. Never fails. */
moment clock_now(void);

/* Unix time in milliseconds, on CLOCK_REALTIME: it may jump. */
int64_t clock_unix_ms(void);

/* Milliseconds from now until then for poll(2): 0 when it has passed, -1 for MOMENT_NEVER, never over INT_MAX. */
int clock_until(moment then);

/* A moment for calls that wait on CLOCK_MONOTONIC, as clock_nanosleep. */
struct timespec clock_timespec(moment then);

/* A kernel's time, as st_mtim, in milliseconds. */
int64_t clock_timespec_ms(struct timespec time);

/* Makes a condition variable whose waits go by the monotonic clock. Returns false when it cannot be made. */
bool clock_condition_init(pthread_cond_t *condition);

/* Waits with the mutex held until the condition is signalled or the moment has come (MOMENT_NEVER: only the former).
 * Returns false when the moment has come. As with all condition variables, true does not mean that what is waited for
 * is so. condition: made by clock_condition_init. */
bool clock_condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, moment until);

#endif
