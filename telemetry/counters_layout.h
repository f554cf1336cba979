/* How counters lie in their file. Whoever changes anything here counts COUNTERS_FILE up: another layout is another
 * file.
 */
#ifndef TELEMETRY_COUNTERS_LAYOUT_H
#define TELEMETRY_COUNTERS_LAYOUT_H

#include <stdatomic.h>
#include <stdint.h>

#include "telemetry/counters.h"

#define COUNTERS_FILE "counters.1"
#define COUNTERS_NAME 104 /* bytes of a source's name, its NUL included; longer ones are cut */

/* A minute's counter: whose minute it is, and the value. */
#define MINUTE_VALUE_BITS 40
#define MINUTE_VALUE_MASK ((UINT64_C(1) << MINUTE_VALUE_BITS) - 1)
#define MINUTE_STAMP_MASK ((UINT64_C(1) << (64 - MINUTE_VALUE_BITS)) - 1)

struct counted_minute {
    _Atomic uint64_t accepted, bytes, delivered, delays, delay_ms;
};

struct counted_histogram {
    _Atomic uint64_t bucket[COUNTED_BUCKETS];
    _Atomic uint64_t sum;
};

struct counted {
    char name[COUNTERS_NAME]; /* "": of no source; written before others see the place */
    _Atomic uint64_t outcome[COUNTED_OUTCOMES];
    _Atomic uint64_t refused[COUNTED_REFUSALS];
    _Atomic int64_t refused_last_ms[COUNTED_REFUSALS];
    _Atomic uint64_t answered[COUNTED_ANSWERS];
    _Atomic int64_t answered_last_ms;
    _Atomic int32_t answered_last_status;
    struct counted_histogram delay, size;
    struct counted_minute minute[COUNTED_MINUTES];
};

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "counters are shared by processes: they need atomics without a lock");

#endif
