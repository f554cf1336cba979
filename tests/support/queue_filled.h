/* A queue with something of everything, and all of it as text. */
#ifndef TESTS_SUPPORT_QUEUE_FILLED_H
#define TESTS_SUPPORT_QUEUE_FILLED_H

#include "tests/support/queue_rig.h"

#define QUEUE_FILLED_EVENTS 1300 /* more than two steps of a migration */
#define QUEUE_FILLED_SETTLED 60

/* Fills the configured queue. */
void queue_filled_make(const struct made_config *made);

/* What is in it, but for the sources' numbers and the events' ids; to be freed. */
char *queue_filled_text(const struct made_config *made);

#endif
