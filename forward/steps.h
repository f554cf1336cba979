/* The steps of a turn, each in a file of its own. */
#ifndef FORWARD_STEPS_H
#define FORWARD_STEPS_H

#include "forward/outcome.h"
#include "forward/traffic.h"

/* intake.c: reads the next events of the queue into the lanes. Returns whether there were any. */
bool traffic_take_in(struct traffic *traffic);

/* answered.c: the lane's batch was answered. */
void traffic_answered(struct lane *lane, const struct answer *answer);

/* notes.c: takes over what the queue noted before a restart. Call once, as the queue's owner. Returns false with the
 * reason. */
bool traffic_recall(struct traffic *traffic, struct why *why);

/* notes.c: tells the queue what the source's next owner must know, if that has changed. */
void traffic_note(struct traffic *traffic);

/* parked.c: an event that the data plane fails at, alone, is set aside; others pass, but for those about its person. */
void traffic_park(struct lane *lane, struct pending *pending);

/* parked.c: whether this event was parked before a restart: then it is again. */
bool traffic_was_parked(struct traffic *traffic, struct pending *pending);

/* parked.c: those whose time has come are tried again, each alone. */
void traffic_parked_due(struct traffic *traffic);

/* requests.c: carries out what commands ask of the forwarder. traffic: of all sources. */
void requests_serve(struct queue *queue, struct traffic *traffic, size_t traffics);

/* retention.c: ends what is older than queue_retention. Returns whether the event was. */
bool traffic_expire(struct traffic *traffic, struct pending *pending);

/* careful.c: transform_parse and transform_message, leaving a trace of what is being done. An event that is known to
 * crash them is unusable, and why says so. */
struct parsed *traffic_parse(struct traffic *traffic, const struct event *event, bool *out_of_memory, struct why *why);
enum transform_result traffic_transform(struct traffic *traffic, const struct pending *pending, struct parsed *parsed,
                                        struct buffer *out);

#endif
