/* Reconciling by a process that lives long: a thread that sleeps until a source is due. */
#ifndef CLOSEAPI_RECONCILER_H
#define CLOSEAPI_RECONCILER_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/error.h"
#include "config/config.h"

struct reconciler;

/* Whether any source is to be reconciled by itself. */
bool reconciler_is_wanted(const struct config *config);

/* Starts the thread. config must outlive it. Of several processes with one state directory one reconciles at a time,
 * and the others see that it was done. Returns NULL with the reason. */
struct reconciler *reconciler_start(const struct config *config, struct error *why);

/* Tells it to end, and does not wait. NULL is allowed, as below. */
void reconciler_hurry(struct reconciler *reconciler);

/* Ends it: what it has in hand is cut short, and read again next time. Returns false when it has not ended by the
 * deadline: then the process must end without freeing anything. */
bool reconciler_stop(struct reconciler *reconciler, moment deadline);

/* For cron: reconciles all sources that are due, one after the other, until the deadline. Calls trouble for each that
 * somebody must look at. Call with no queue open in this thread's hands. Returns whether any was due. */
bool reconcile_due(const struct config *config, moment deadline,
                   void (*trouble)(void *context, const char *source, const char *words), void *context);

#endif
