/* Waiting for another thread, on the clock that only goes forward. */
#ifndef TESTS_SUPPORT_WAITING_H
#define TESTS_SUPPORT_WAITING_H

#include <pthread.h>
#include <stdbool.h>

#include "base/clock.h"

/* Waits, holding the mutex, for a change to be told or the deadline. Returns false when the deadline has passed. */
bool wait_changed(pthread_cond_t *changed, pthread_mutex_t *mutex, moment deadline);

#endif
