/* Opens what watches, for a configuration's sources. */
#ifndef TELEMETRY_TELEMETRY_H
#define TELEMETRY_TELEMETRY_H

#include "config/config.h"
#include "telemetry/watchers.h"

/* Call when the state directory stands. What cannot be had is NULL or in memory, which is logged: nothing fails for it.
 * Close with watching_close. */
void watching_open(struct watchers *watchers, const struct config *config);

void watching_close(struct watchers *watchers);

#endif
