/* Telemetry for people: counters, the sample of recent events and what was tried, opened together for a configuration's
 * sources. */
#ifndef TELEMETRY_TELEMETRY_H
#define TELEMETRY_TELEMETRY_H

#include "telemetry/attempts.h"
#include "telemetry/counters.h"
#include "telemetry/recent.h"

struct config;

/* NULL members record nothing. */
struct telemetry {
    struct counters *counters;
    struct recent *recent;
    struct attempts *attempts;
};

/* Opens all, in the state directory if the configuration has one; it must exist. Never fails: counters that cannot be
 * shared are kept in memory, which is logged, and what needs memory that is not there is NULL. Close with
 * telemetry_close. */
void telemetry_open(struct telemetry *telemetry, const struct config *config);

void telemetry_close(struct telemetry *telemetry);

#endif
