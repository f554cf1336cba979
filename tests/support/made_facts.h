/* Facts made in memory, and a situation for each thing that can be wrong. */
#ifndef TESTS_SUPPORT_MADE_FACTS_H
#define TESTS_SUPPORT_MADE_FACTS_H

#include <stddef.h>

#include "health/facts.h"
#include "health/findings.h"
#include "tests/support/made_config.h"

#define MADE_FACTS_NOW ((int64_t)1700000000000) /* Unix time, ms */

/* Too large for the stack. All zero is fresh; it must not move. */
struct made_facts {
    struct made_config configured;
    struct source_facts one; /* the only source */
    struct facts facts;      /* free facts.found in the end */
};

/* All is well: an event was delivered a minute ago. Call it first; or again, for fresh facts. */
void made_facts_well(struct made_facts *made);

struct situation {
    const char *label;
    void (*happen)(struct made_facts *made); /* changes what is so */
};

const struct situation *situations_all(size_t *count);

/* The situation of that label, which must exist, comes over the facts as they are. */
void situation_happens(struct made_facts *made, const char *label);

#endif
