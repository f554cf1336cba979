/* The steps of a turn, each in a file of its own. */
#ifndef FORWARD_STEPS_H
#define FORWARD_STEPS_H

#include "forward/answer.h"
#include "forward/source.h"

/* intake.c: reads the next events of the queue into the lanes. Returns whether there were any. */
bool traffic_take_in(struct traffic *traffic);

/* answer.c: the lane's batch was answered. */
void traffic_answered(struct lane *lane, const struct answer *answer);

/* answer.c: nothing of this source is sent until somebody mends something, but for one event now and then. all_alike:
 * what refuses takes not even an empty batch, so it is no event's fault. */
void traffic_operator_must_act(struct lane *lane, const struct answer *answer, bool all_alike);

/* answer.c: says loudly that the data plane refuses. */
void traffic_report_refusal(struct lane *lane, const struct answer *answer);

/* answer.c: says which event it was that something happened to, with the source's reason. */
void traffic_report_event(struct traffic *traffic, const struct pending *pending, const char *happening);

/* search.c: the lane's batch was refused in a way that may be one event's fault (OUTCOME_REFUSED). */
void traffic_refused(struct lane *lane, const struct answer *answer);

/* search.c: whether this is no lane, but the place of empty batches; and such a one was answered. */
bool traffic_is_asker(const struct lane *lane);
void traffic_asked(struct lane *asker, const struct answer *answer);

/* search.c: a batch was accepted, as traffic->accepted says already. */
void traffic_search_accepted(struct traffic *traffic);

/* search.c: the operator must act. all_alike: as above. */
void traffic_search_gives_up(struct traffic *traffic, bool all_alike);

/* search.c: when one of those that are set aside is tried again, for want of anything better; and does that if it is
 * time. MOMENT_NEVER: not, as things are. */
moment traffic_aside_due(const struct traffic *traffic);
void traffic_try_aside(struct traffic *traffic);

/* mended.c: whether `check` has found a data plane mended after that moment (Unix time); and ends the wait for the
 * operator if so. */
bool traffic_mended_since(const struct traffic *traffic, int64_t unix_ms);
void traffic_look_mended(struct traffic *traffic);

/* notes.c: takes over what the queue noted before a restart. Call once, as the queue's owner. Returns false with the
 * reason. */
bool traffic_recall(struct traffic *traffic, struct error *why);

/* notes.c: tells the queue what the source's next owner must know, if that has changed. */
void traffic_note(struct traffic *traffic);

/* hold.c: an event that the data plane fails at, alone, is set aside; others pass, but for those about its person. */
void traffic_park(struct lane *lane, struct pending *pending);

/* hold.c: whether this event was parked before a restart: then it is again. */
bool traffic_was_parked(struct traffic *traffic, struct pending *pending);

/* hold.c: those whose time has come are tried again, each alone. */
void traffic_parked_due(struct traffic *traffic);

/* starved.c: memory was out for this event, tried alone. Counts it, unless memory is out for all. Returns whether it is
 * to be given up. */
bool traffic_starved(unsigned char *tries);

/* starved.c: how long to wait after so many tries (ms); and the reason of one that is given up. */
int64_t traffic_starved_pause(const struct traffic *traffic, unsigned tries);
void traffic_starved_reason(struct error *why, const char *what);

/* settles.c: whether what becomes of the lane's batch, which is built, could be settled. Else the batch is taken apart,
 * and a smaller one is tried, or nothing of the source for a while. */
bool traffic_can_settle(struct lane *lane);

/* retention.c: whether what was received then (Unix time; 0: not known) is older than queue_retention; why says so. */
bool traffic_is_too_old(const struct traffic *traffic, int64_t received_ms, struct error *why);
/* requests.c: carries out what commands ask of the forwarder. traffic: of all sources. */
void requests_serve(struct queue *queue, struct traffic *traffic, size_t traffics);

/* retention.c: ends what is older than queue_retention. Returns whether the event was. */
bool traffic_expire(struct traffic *traffic, struct pending *pending);

#endif
