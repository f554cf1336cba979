/* Who is told what happens, together: counters and the sample of recent events. */
#ifndef WATCH_WATCHERS_H
#define WATCH_WATCHERS_H

#include "watch/counters.h"
#include "watch/recent.h"

/* All zero tells nobody. */
struct watchers {
    struct counters *counters;
    struct recent *recent;
};

#endif
