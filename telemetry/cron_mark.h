/* The mark that `closecrm.fcgi cron` leaves in the state directory: when it ran last, and what it has reported already.
 * Its file, cron.last, may be deleted at any time. */
#ifndef TELEMETRY_CRON_MARK_H
#define TELEMETRY_CRON_MARK_H

#include <stdbool.h>
#include <stdint.h>

struct cron_mark {
    int64_t ran_ms;  /* when it ended last; Unix time; 0: never, or nobody knows */
    uint64_t letter; /* the newest dead letter that it has reported; 0: none */
};

/* Reads it; what cannot be read is 0. */
void cron_mark_read(const char *state_dir, struct cron_mark *mark);

/* Writes it anew, with the time of now. Returns false when that fails; errno says why. */
bool cron_mark_write(const char *state_dir, uint64_t letter);

#endif
