/* Charts as inline SVG. */
#ifndef STATUS_CHART_H
#define STATUS_CHART_H

#include <stddef.h>

#include "health/facts.h"

/* Appends the figures of the last hour and of the last day: events a minute, delay, size; of all sources together, or
 * of the one named (NULL: all). */
void chart_write_all(struct buffer *out, const struct facts *facts, const char *source);

/* The sum of all sources' minutes, or of the one named; out has COUNTED_MINUTES. */
void chart_sum(const struct facts *facts, const char *source, struct tally_minute *out);

#endif
