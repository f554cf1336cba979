/* Monotonic and calendar time: see clock.h. */
#include "base/clock.h"

#include <limits.h>

static int64_t read_ms(clockid_t id)
{
    struct timespec t = {0, 0};
    clock_gettime(id, &t); /* cannot fail for these two clocks */
    return clock_timespec_ms(t);
}

moment clock_now(void)
{
    return read_ms(CLOCK_MONOTONIC);
}

int64_t clock_unix_ms(void)
{
    return read_ms(CLOCK_REALTIME);
}

int clock_until(moment then)
{
    if (then == MOMENT_NEVER)
        return -1;
    int64_t left = then - clock_now();
    if (left <= 0)
        return 0;
    return left > INT_MAX ? INT_MAX : (int)left;
}

struct timespec clock_timespec(moment then)
{
    return (struct timespec){.tv_sec = (time_t)(then / 1000), .tv_nsec = (long)(then % 1000) * 1000000};
}

int64_t clock_timespec_ms(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

bool clock_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0)
        return false;
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    bool made = pthread_cond_init(condition, &monotonic) == 0;
    pthread_condattr_destroy(&monotonic);
    return made;
}

bool clock_condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, moment until)
{
    const struct timespec time = clock_timespec(until);
    if (until == MOMENT_NEVER)
        return pthread_cond_wait(condition, mutex) == 0;
    return pthread_cond_timedwait(condition, mutex, &time) == 0;
}
