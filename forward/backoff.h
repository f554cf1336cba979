/* How long to wait before a batch is tried again. */
#ifndef FORWARD_BACKOFF_H
#define FORWARD_BACKOFF_H

#include <stdint.h>

#define BACKOFF_FIRST_MS 1000
#define BACKOFF_MOST_MS (5 * 60 * 1000)
#define BACKOFF_ASKED_MOST_MS (15 * 60 * 1000) /* of what Retry-After asks for */

/* The delay in milliseconds after this many failed tries (1: the first failed): exponential from first_ms
 * (BACKOFF_FIRST_MS but in tests), with full jitter, so that many senders do not come back at the same moment.
 * retry_after_ms (0: none) is obeyed up to its bound. chance is a random number. */
int64_t backoff_delay(int64_t first_ms, unsigned tries, int64_t retry_after_ms, uint64_t chance);

#endif
