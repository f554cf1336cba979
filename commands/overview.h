/* How the queue stands: what `queue status` and `check` say. Copied from the queue, so that printing holds nothing. */
#ifndef COMMANDS_OVERVIEW_H
#define COMMANDS_OVERVIEW_H

#include "closeapi/closeapi.h"
#include "config/config.h"
#include "queue/inspect.h"

struct overview_source {
    const char *name; /* in the overview's names */
    bool configured;
    struct counts counts;
    struct notes notes;
    bool reconciles;              /* it has an API key of Close's */
    struct completeness complete; /* then: what is known of it */
};

struct overview {
    struct strings names;
    struct overview_source *source; /* as many as names, in the same order */
    struct queue_room room;
    struct counts all;      /* sums; the oldest and the last of all */
    bool forwarding;        /* a process forwards now */
    struct error forwarder; /* which, in words */
    struct error no_room;   /* why nothing new is accepted; "": it is */
    int64_t last_cron_ms;   /* when `cron` ran last; Unix time; 0: never */
    int64_t now_ms;         /* when it was looked at */
};

/* Looks at all sources that the queue knows. Free with overview_free, also when it returns false with the reason. */
bool overview_gather(struct overview *overview, struct queue *queue, const struct config *config, struct error *why);

void overview_free(struct overview *overview);

/* What to say where events wait and no process forwards; NULL: that is not so. */
const char *overview_stands_still(const struct overview *overview);

#endif
