/* One lane of a source: its batch, and when it may be sent. */
#ifndef FORWARD_LANE_H
#define FORWARD_LANE_H

#include "forward/source.h"

enum lane_built {
    LANE_BUILT,   /* the message is in the batch */
    LANE_DROPPED, /* the operator's choice */
    LANE_NO_ROOM, /* not in this batch any more */
    LANE_NO_MEMORY,
};

/* Whether another event can still go into the batch that is being built, in order. */
bool lane_has_room(const struct lane *lane);

/* When the lane may send next: its back-off, the source's block, and whether what becomes of it can be settled. May
 * have passed. MOMENT_NEVER: when what is with the data plane now was answered. */
moment lane_due(const struct lane *lane);

/* Likewise, whatever is with the data plane: what is told to those who wait. */
moment lane_put_off_until(const struct lane *lane);

/* When the batch that is built may go: an event that comes to a lane at rest leaves at once; under load, what comes
 * within a few milliseconds goes together. */
moment lane_next(const struct lane *lane);

/* Puts an event's message into the batch, and the event into built. DROPPED, NO_ROOM, NO_MEMORY: the event is left to
 * the caller. */
enum lane_built lane_build(struct lane *lane, struct pending *pending, struct parsed *parsed);

/* Reads events that wait in the lane from the queue again and builds the batch from them. */
void lane_fill(struct lane *lane);

enum lane_sent {
    LANE_IDLE,     /* nothing was sent */
    LANE_SENT,     /* the answer will come */
    LANE_ANSWERED, /* into a file: the answer is there already */
};

/* Sends the batch if there is one, nothing is with the data plane, and it is due. */
enum lane_sent lane_send(struct lane *lane, struct answer *answer);

/* Nothing of this lane is sent before `due`: puts all back to waiting, in order, holds no messages meanwhile, and tells
 * the queue, with the source's reason. */
void lane_put_off(struct lane *lane, moment due);

/* Puts all back to waiting, in order, to be built anew. */
void lane_put_back(struct lane *lane);

#endif
