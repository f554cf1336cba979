/* Monotonic and calendar time: see clock.h. */
#include "base/clock.h"

#include <limits.h>
#include <time.h>

static int64_t read_ms(clockid_t id)
{
    struct timespec t = {0, 0};
    clock_gettime(id, &t); /* cannot fail for these two clocks */
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
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
