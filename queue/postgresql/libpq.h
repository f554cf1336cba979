/* libpq, loaded when a queue of the engine `postgresql` is opened: a program with another engine maps none of it. Its
 * functions have libpq's own names and types and may be called once libpq_load has succeeded. None of them
 * is newer than libpq 14. */
#ifndef QUEUE_POSTGRESQL_LIBPQ_H
#define QUEUE_POSTGRESQL_LIBPQ_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "base/error.h"

/* Loads it for good, and takes libpq's variables (PGHOST, PGPASSWORD ...) out of the environment: what is connected to
 * is told by the configuration only. Returns false with the reason, and which package brings it. Any thread. */
bool libpq_load(struct error *why);

#endif
