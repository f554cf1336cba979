/* A turn of one source's traffic, as the forwarder's loop calls it. */
#ifndef FORWARD_STEP_H
#define FORWARD_STEP_H

#include "forward/source.h"

/* One turn: tells verdicts, reads what came, builds batches, sends what is due. Returns whether another turn at once
 * would find something to do. sending: whether a batch may still be sent. */
bool traffic_turn(struct traffic *traffic, bool sending);

/* Tells the queue all verdicts at once. Returns false when it fails to take them: they are told later. */
bool traffic_tell_now(struct traffic *traffic);

/* When the next turn is due if nothing comes before; MOMENT_NEVER: not. */
moment traffic_due(const struct traffic *traffic);

/* Gives back the memory that a backlog took, once nothing is on its way. Returns whether it was much. */
bool traffic_rest(struct traffic *traffic);

#endif
