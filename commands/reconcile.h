/* Reconciling a source and telling how it went, for `reconcile` and `resume`. */
#ifndef COMMANDS_RECONCILE_H
#define COMMANDS_RECONCILE_H

#include "commands/close_session.h"

struct reconcile_arguments {
    bool all_events;
    bool json;
    int64_t from_us;  /* as in reconcile_options */
    bool after_pause; /* the last five minutes come later: say so */
};

/* session needs its queue. Returns an exit code. Gives up the lock on the subscriptions, which reconciling wants. */
int reconcile_and_print(struct close_session *session, const struct reconcile_arguments *arguments);

#endif
