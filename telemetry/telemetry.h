/* Telemetry for people: counters, the sample of recent events and what was tried, opened together for a configuration's
 * sources; and when cron ran last. */
#ifndef TELEMETRY_TELEMETRY_H
#define TELEMETRY_TELEMETRY_H

#include <stdbool.h>
#include <stdint.h>

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

/* ---- The state of `closecrm.fcgi cron` in the state directory: when it last ran, and up to which dead letter it has
 * reported. The file, cron.last, may be deleted at any time. ---- */

struct cron_mark {
    int64_t ran_ms;  /* end of the last run; Unix time; 0: never or unknown */
    uint64_t letter; /* id of the newest reported dead letter; 0: none */
};

/* Reads the file; what cannot be read is 0. */
void cron_mark_read(const char *state_dir, struct cron_mark *mark);

/* Writes the file with the current time. Returns false with errno. */
bool cron_mark_write(const char *state_dir, uint64_t letter);

#endif
