/* The engine postgresql for the model of the queue (model_drive.h): each life has tables of its own in one database; a
 * process is killed after a random time instead of at a write, and what fails is that its connections are cut. */
#ifndef TESTS_SUPPORT_MODEL_POSTGRESQL_H
#define TESTS_SUPPORT_MODEL_POSTGRESQL_H

#include "tests/support/model_drive.h"

/* Starts a server, in memory where that can be had, which syncs as one in earnest; and ends it. Returns false when it
 * does not start. */
bool model_postgresql_begin(void);
void model_postgresql_end(void);

extern const struct model_engine model_postgresql;

#endif
