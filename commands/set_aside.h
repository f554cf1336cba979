/* Making a waiting event a dead letter: for `queue set-aside`, and for `forget`, which then deletes it. */
#ifndef COMMANDS_SET_ASIDE_H
#define COMMANDS_SET_ASIDE_H

#include <stdbool.h>

#include "queue/inspect.h"

/* Makes the request for a waiting event; body as queue_list returned it, borrowed during the call. Reads the event's
 * identity in a child process: call only from a process with one thread. */
void set_aside_prepare(struct queue_request *request, const char *source, const struct event *event);

/* Has the process that forwards make the event a dead letter, for which it waits 10 s; where none does, this process
 * claims the queue and does it. *words: what was done; returns false with the reason there where nothing was. */
bool set_aside_event(struct queue *queue, const struct queue_request *request, struct error *words);

#endif
