/* What is tried: each kind of call with the errors that it can have. */
#ifndef TESTS_FAULTS_CALLS_H
#define TESTS_FAULTS_CALLS_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/faults/plan.h"

#define CALL_ERRORS 10

struct call {
    const char *name;       /* as CALL=write names it */
    int error[CALL_ERRORS]; /* errno's, FAULT_SHORT, FAULT_KILL; then 0 */
    bool loses_answers;     /* when it fails, what the other side has done may not be known: it is asked again */
};

/* By enum fault_call. */
extern const struct call calls[FAULT_CALLS];

/* "ENOSPC", "killed", ...: static storage. */
const char *call_error_name(int error);

#endif
