/* What a power cut would leave, looked at in the order of the program's calls: a file is synced before it gets the name
 * under which it counts, and the name is synced before the command says that it is done. */
#ifndef TESTS_FAULTS_ORDER_H
#define TESTS_FAULTS_ORDER_H

#include "tests/faults/operations.h"

/* Does the operation without a fault, once, its commands recorded by strace. What is out of order is a CUnit failure.
 * Only operations that are commands: strace ends at the signal that ends a server. */
void order_try(const struct operation *operation);

#endif
