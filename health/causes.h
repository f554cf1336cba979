/* What somebody must be told of, found in the facts. */
#ifndef HEALTH_CAUSES_H
#define HEALTH_CAUSES_H

#include "health/alerts.h"
#include "health/facts.h"

/* All zero is empty; reuse it, free it with causes_free. */
struct causes {
    struct alert_cause *at;
    size_t count;
};

/* Finds them all, raised or not, each with words that are true now; what cannot be told is left out. watching_since_ms:
 * since when somebody watches: before, nothing is called silent or broken; 0: cron, which comes and goes. The names of
 * sources are borrowed from facts. Returns false when memory is out.
 */
bool causes_find(const struct facts *facts, int64_t watching_since_ms, struct causes *causes);

void causes_free(struct causes *causes);

#endif
