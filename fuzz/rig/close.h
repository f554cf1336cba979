/* Close's answers for fuzzers that have `close_call` wrapped (the Makefile's WRAPPED_...). */
#ifndef FUZZ_RIG_CLOSE_H
#define FUZZ_RIG_CLOSE_H

#include "tests/support/slice.h"

/* Every request is answered 200 with this body from now on. Borrowed. */
void rig_close_answers(struct slice body);

#endif
