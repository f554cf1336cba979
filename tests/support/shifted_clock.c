/* This program's own clock_gettime stands before libc's: see shifted_clock.h. */
#include "tests/support/shifted_clock.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_llong shift_s;

void shifted_clock_set(int64_t hours)
{
    atomic_store(&shift_s, (long long)hours * 3600);
}

int clock_gettime(clockid_t id, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, id, time);
    if (result == 0 && id == CLOCK_REALTIME)
        time->tv_sec += (time_t)atomic_load(&shift_s);
    return result;
}
