/* What is JSON, in the opinion of neither our own reader nor json-c: json-c's strict mode refuses letters beyond ASCII
 * (0.17, 0.18) and large integers (from 0.17 on), and takes NaN. */
#ifndef TESTS_SUPPORT_STRICT_JSON_H
#define TESTS_SUPPORT_STRICT_JSON_H

#include <stdbool.h>

#include "tests/support/slice.h"

/* True when the text is UTF-8 and follows RFC 8259's grammar, with at least 1000 arrays and objects inside one another.
 * Numbers of any size, names that come twice and lone surrogates that are escaped follow it. For any thread. */
bool is_strict_json(struct slice text);

#endif
