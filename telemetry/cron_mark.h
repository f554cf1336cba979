/* The state of `closecrm.fcgi cron` in the state directory: when it last ran, and up to which dead letter it has
 * reported. The file, cron.last, may be deleted at any time. */
#ifndef TELEMETRY_CRON_MARK_H
#define TELEMETRY_CRON_MARK_H

#include <stdbool.h>
#include <stdint.h>

struct cron_mark {
    int64_t ran_ms;  /* end of the last run; Unix time; 0: never or unknown */
    uint64_t letter; /* id of the newest reported dead letter; 0: none */
};

/* Reads the file; what cannot be read is 0. */
void cron_mark_read(const char *state_dir, struct cron_mark *mark);

/* Writes the file with the current time. Returns false with errno. */
bool cron_mark_write(const char *state_dir, uint64_t letter);

#endif
