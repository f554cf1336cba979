/* Exponential back-off with full jitter: see backoff.h. */
#include "forward/backoff.h"

#define LEAST_MS 50 /* full jitter may say "at once": not quite */

int64_t backoff_delay(int64_t first_ms, unsigned tries, int64_t retry_after_ms, uint64_t chance)
{
    if (retry_after_ms > 0)
        return retry_after_ms < BACKOFF_ASKED_MOST_MS ? retry_after_ms : BACKOFF_ASKED_MOST_MS;
    int64_t most = first_ms;
    while (tries-- > 1 && most < BACKOFF_MOST_MS)
        most *= 2;
    if (most > BACKOFF_MOST_MS)
        most = BACKOFF_MOST_MS;
    return LEAST_MS + (int64_t)(chance % (uint64_t)(most - LEAST_MS + 1));
}
