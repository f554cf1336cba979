/* The delivered mark: up to which date all events of a source were settled, noted outside of the database by the
 * process that forwards. When the database is lost with all that it remembered, what Close dates from there on can be
 * fetched again, and nothing that is older is. It stands in STATE_DIR/delivered, a line for each source. */
#ifndef QUEUE_DELIVERED_H
#define QUEUE_DELIVERED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct delivered {
    char source[80];
    int64_t mark_ms; /* every event with a date_updated before was settled: Unix time in milliseconds, Close's clock */
};

/* Reads the mark of a source; 0: there is none. */
int64_t delivered_mark(const char *state_dir, const char *source);

/* Replaces all marks. Returns false with the reason; then the old ones stand. */
bool delivered_write(const char *state_dir, const struct delivered *marks, size_t count, struct error *why);

/* Finds an event's date_updated in its body as it came, without parsing the body as a whole: for looking at what
 * waits. Unix time in microseconds; DATE_UNREADABLE when there is none. */
int64_t delivered_date_of(const char *body, size_t length);

#endif
