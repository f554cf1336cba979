/* The search for events that the data plane refuses: whose fault is a refusal? Part of a source's pipeline: what
 * forward_private.h says holds here. */
#ifndef FORWARD_SEARCH_H
#define FORWARD_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "forward/answer.h"
#include "forward/pending.h"

struct source_pipeline;
struct lane;

/* What the data plane answered to an empty batch while events are refused. */
enum search_said {
    SAID_NOTHING, /* not asked yet, or no answer that tells anything */
    SAID_GOOD,    /* address and key are good: it is the events */
    SAID_BAD,     /* it is refused too */
};

/* Numbers are those of requests, in the order of their sending. */
struct search {
    size_t suspects;       /* events in flight that were in a batch that was refused; 0: there is no search */
    uint64_t since;        /* the last request before it began */
    struct answer refusal; /* of the last event that was refused alone */
    unsigned alike;        /* events refused alone with its status, one after another, and none accepted */
    bool asking;           /* an empty batch is with the data plane */
    enum search_said said; /* to the last one */
    uint64_t vouched;      /* the last one that found all good */
    bool lately_spent;     /* what was accepted before the search has counted for one lone event: not for another */
    bool said_so;          /* events are refused, none is accepted, and that was logged: somebody has to look */
    bool one_only;         /* only one event at a time is sent, until one is accepted: somebody has to mend something */
    moment there_at;       /* an empty batch found the data plane there while it failed at events; 0: none did */
};

/* The lane's batch was refused in a way that may be one event's fault (OUTCOME_REFUSED). */
void search_refused(struct lane *lane, const struct answer *answer);

/* Whether this is no lane, but the place of empty batches; and such a one was answered. */
bool search_is_asker(const struct lane *lane);
void search_asked(struct lane *asker, const struct answer *answer);

/* The data plane fails at event after event and takes none in between: is it there at all, and takes others? Asks with
 * an empty batch; the answer to the last one tells, for some seconds. */
void search_ask_if_there(struct source_pipeline *pipeline);
bool search_is_there(const struct source_pipeline *pipeline);

/* A batch was accepted, as data_plane.accepted says already. */
void search_accepted(struct source_pipeline *pipeline);

/* The operator must act. all_alike: see answer_operator_must_act. */
void search_give_up(struct source_pipeline *pipeline, bool all_alike);

/* The event is in flight no longer. */
void search_forget(struct search *search, const struct pending *pending);

/* Before a restart the operator had to act. */
void search_recall(struct search *search, bool operator_must_act);

#endif
