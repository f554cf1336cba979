/* Goes through the points of an operation: each call of each kind, with each error. */
#ifndef TESTS_FAULTS_DRIVER_H
#define TESTS_FAULTS_DRIVER_H

#include <stdint.h>

#include "tests/faults/operations.h"

struct driver_options {
    const char *call; /* only this kind; NULL: all */
    unsigned nth;     /* only this one; 0: all */
    int error;        /* only this errno; 0: all */
    unsigned step;    /* only every so many, with each error from another one on; 0: each */
    unsigned memory;  /* the same of memory, which is asked for thousands of times */
    int64_t most_ms;  /* so long, with points by chance; 0: all points, in order */
    unsigned random;  /* for that */
};

/* Prepares the operation and tries its points. Prints what was found, and a table. Whether all is well is a CUnit
 * assertion. */
void driver_try(const struct operation *operation, const struct driver_options *options);

#endif
