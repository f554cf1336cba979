/* The stages behind http in a process that lives long: queue, webhook, forwarder. A thread of their own opens them,
 * again and again where the queue cannot be opened (a full disk, a missing directory, another process that repairs it),
 * and forwards once they are open. */
#ifndef PROCESS_PIPELINE_H
#define PROCESS_PIPELINE_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/error.h"
#include "config/config.h"
#include "process/gate.h"

struct pipeline;

/* Starts the thread. The gate is opened once the stages are open, and closed while they are not; NULL: no webhooks are
 * taken, the pipeline only forwards. config and gate are borrowed and must outlive it. Returns NULL with the reason. */
struct pipeline *pipeline_start(const struct config *config, struct gate *gate, struct error *why);

/* Whether all stages must be closed and opened again: the queue is damaged, or another release has changed it. Not
 * within the first second after they were opened, so that a reopening that does not help is not repeated all the time.
 */
bool pipeline_must_reopen(struct pipeline *pipeline);

/* Starts again what could not be started for want of a thread. Call it about every second. */
void pipeline_retry(struct pipeline *pipeline);

/* The process is about to stop: requests that wait for the queue are answered at this moment at the latest. */
void pipeline_begin_shutdown(struct pipeline *pipeline, moment deadline);

/* Ends forwarding, waiting for batches in flight until the deadline, and frees all. No request may be in hand. Returns
 * false when the queue is still being opened: the process must end without freeing anything. */
bool pipeline_stop(struct pipeline *pipeline, moment deadline);

#endif
