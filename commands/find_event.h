/* Which waiting event a command means by a number that `queue list` shows. */
#ifndef COMMANDS_FIND_EVENT_H
#define COMMANDS_FIND_EVENT_H

#include "queue/inspect.h"

/* Finds the event of that id in that source. Returns whether it is there, -1 when the queue failed. */
int find_event(struct queue *queue, const char *source, uint64_t id, struct events *events, struct error *why);

/* Finds the one source that has it: wanted, where that is not NULL. Each source counts for itself, so that several may
 * have that number. Returns its name, in names; NULL with the reason. */
const char *find_event_source(struct queue *queue, uint64_t id, const struct strings *names, const char *wanted,
                              struct events *events, struct error *why);

#endif
