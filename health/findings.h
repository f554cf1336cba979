/* What is wrong, judged once. One table has every finding: how bad it is, its threshold, what is said of it, what to do
 * about it, the command to type, and who shows it. `check`, `cron`, `queue status`, the status page, /metrics and
 * alerts are views of what is found here, and judge nothing themselves. */
#ifndef HEALTH_FINDINGS_H
#define HEALTH_FINDINGS_H

#include <stdbool.h>

#include "health/facts.h"
#include "health/finding.h"

/* The finding's name: "data_plane_refuses". */
const char *finding_name(enum finding_id id);

/* Judges one. source: of those that are of a source; the others do not look at it. out (may be NULL) is set when it is
 * found. */
enum finding_outcome finding_judge(enum finding_id id, const struct facts *facts, const struct source_facts *source,
                                   struct finding *out);

/* Judges all: sets facts->found, the worst first. Returns false when memory is out. Calling it again judges anew. */
bool findings_judge(struct facts *facts);

#endif
