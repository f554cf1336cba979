/* Runs the suites of the registry side by side, each in a process of its own. */
#ifndef TESTS_PARALLEL_H
#define TESTS_PARALLEL_H

#include <stdbool.h>
#include <stddef.h>

/* Runs all registered suites, at most so many at once, the last one registered first; with a seed other than 0 in an
 * order of its own, the same for the same seed, for no suite may depend on another one. Prints each one's output when
 * it has ended, with the time and the processor time that it took, and at the end CUnit's summary of all, and every
 * failure once more. A suite that takes longer than its time limit is killed, and has failed. No thread may have been
 * started before. Returns whether all passed. */
bool parallel_run(size_t jobs, unsigned seed);

#endif
