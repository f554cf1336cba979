/* Who is told what happens, together: counters and the sample of recent events. */
#ifndef TELEMETRY_WATCHERS_H
#define TELEMETRY_WATCHERS_H

#include "telemetry/counters.h"
#include "telemetry/recent.h"

/* All zero tells nobody. */
struct watchers {
    struct counters *counters;
    struct recent *recent;
};

#endif
