/* What the message of a webhook's body must be, by the second reader. */
#ifndef FUZZ_RIG_EXPECTED_H
#define FUZZ_RIG_EXPECTED_H

#include "base/error.h"
#include "fuzz/rig/walker.h"
#include "transform/transform.h"

/* A body that transform_parse_for has taken: it must be JSON with an event. */
void expect_taken(struct slice body, const struct rules *rules);

/* A body that it has refused, for this reason: there must be something wrong with it. */
void expect_refused(struct slice body, const struct rules *rules, const struct error *why);

/* The track message of a body: valid JSON, properties unaltered, ids and names as documented. keep and drop must be
 * empty, as `remove`. */
void expect_message(struct slice body, const struct rules *rules, bool newer_version, struct slice message);

/* The message about the person: valid JSON, each trait unaltered. */
void expect_person(struct slice body, const struct rules *rules, struct slice message);

#endif
