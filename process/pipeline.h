/* The stages behind http in a process that lives long: queue, webhook, forwarder. A thread of their own opens them,
 * again and again where the queue cannot be opened (a full disk, a directory that is not there, another process that
 * repairs it), and forwards once they stand. */
#ifndef PROCESS_PIPELINE_H
#define PROCESS_PIPELINE_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/error.h"
#include "config/config.h"
#include "process/gate.h"

struct pipeline;

/* Starts the thread. gate is opened when the stages stand, and closed while they do not; NULL: no webhooks are taken,
 * it only forwards. Both are borrowed and must outlive it. Returns NULL with the reason. */
struct pipeline *pipeline_start(const struct config *config, struct gate *gate, struct error *why);

/* Whether all must be closed and opened anew: the queue is damaged, or another release has changed it. Not at once
 * after it was opened, so that what does not help is not done all the time. */
bool pipeline_must_reopen(struct pipeline *service);

/* Tries again to start what could not be started for want of a thread. Call it now and then. */
void pipeline_retry(struct pipeline *service);

/* No request waits beyond this moment any more: the process is about to stop. */
void pipeline_begin_shutdown(struct pipeline *service, moment deadline);

/* Ends forwarding, waiting for batches in hand until the deadline, and frees all. No request may be in hand. Returns
 * false when the queue is still being opened: the process must end without freeing anything. */
bool pipeline_stop(struct pipeline *service, moment deadline);

#endif
