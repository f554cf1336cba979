/* A condition with a deadline. */
#include "tests/support/waiting.h"

#include <time.h>

bool wait_changed(pthread_cond_t *changed, pthread_mutex_t *mutex, moment deadline)
{
    struct timespec then = {.tv_sec = deadline / 1000, .tv_nsec = deadline % 1000 * 1000000};
    return pthread_cond_clockwait(changed, mutex, CLOCK_MONOTONIC, &then) == 0;
}
