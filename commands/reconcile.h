/* Reconciling a source and printing the result, for `reconcile` and `resume`. */
#ifndef COMMANDS_RECONCILE_H
#define COMMANDS_RECONCILE_H

#include "commands/close_session.h"

struct reconcile_arguments {
    bool all_events;
    bool json;
    int64_t from_us;  /* as in reconcile_options */
    bool after_pause; /* print that the last five minutes come later */
};

/* The session must have its queue open. Releases its lock on the subscriptions, which reconciling needs. Returns an
 * exit code. */
int reconcile_and_print(struct close_session *session, const struct reconcile_arguments *arguments);

#endif
