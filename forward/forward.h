/* The forwarder: queue → transform → data plane. One face for the FastCGI process's thread, a CGI request and
 * commands. */
#ifndef FORWARD_FORWARD_H
#define FORWARD_FORWARD_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/error.h"
#include "config/config.h"
#include "queue/queue.h"
#include "telemetry/telemetry.h"
#include "transform/transform.h"

/* What the source's configuration says of messages. Borrows the lists. */
struct rules forward_rules(const struct source *source);

struct forwarder;

/* config and queue are borrowed and must outlive it. Returns NULL with the reason. */
struct forwarder *forwarder_new(const struct config *config, struct queue *queue, struct error *why);

/* Shows these what happens from now on. Borrowed until forwarder_free. Call before forwarder_run. */
void forwarder_watch(struct forwarder *forwarder, const struct telemetry *telemetry);

struct post_limits;

/* Other limits than the usual ones, for tests: on exchanges with a data plane (post.h), and the first pause after
 * memory was out for an event (ms). Call before forwarder_run. */
void forwarder_limit(struct forwarder *forwarder, const struct post_limits *limits, int64_t starved_ms);

/* For tests likewise: the longest first pause after a failed request, at least 50 ms. Call before forwarder_run. */
void forwarder_back_off(struct forwarder *forwarder, int64_t first_ms);

enum forward_until {
    FORWARD_UNTIL_STOPPED,
    FORWARD_UNTIL_IDLE,  /* until nothing is left that is due now, and nothing is with a data plane; events that wait
                            for a later try do not count */
    FORWARD_UNTIL_QUIET, /* as UNTIL_IDLE, and nothing has come or gone for more than a second */
};

/* Forwards until forwarder_stop, the deadline, or as `until` says. What is with a data plane at the deadline is
 * awaited; while one is slow, the other sources go on. The calling thread has the consumer lock of the sources
 * that queue_claim gets from then on, and begins and ends with a source as queue_tenure says; who may have to wait for
 * it claims the queue before (queue_claim), and makes a forwarder then. Returns false when other processes have all
 * sources; else it is not called again. It ends, too, when all were lost (queue_is_lost): a new forwarder goes on as
 * soon as the queue could be claimed again. A batch that is with a data plane when its source is lost may so be sent
 * twice, with the same messageIds. */
bool forwarder_run(struct forwarder *forwarder, enum forward_until until, moment deadline);

/* After forwarder_run: whether a source (by its place in the configuration) is this process's. */
bool forwarder_owns(const struct forwarder *forwarder, size_t source);

/* After forwarder_run: the last event of a source (by its place in the configuration) that was read; what came later
 * has a greater id. 0: none was. */
uint64_t forwarder_read_up_to(const struct forwarder *forwarder, size_t source);

/* Ends forwarder_run: batches in hand are awaited until the deadline, nothing new is sent. Any thread. */
void forwarder_stop(struct forwarder *forwarder, moment deadline);

void forwarder_free(struct forwarder *forwarder);

/* Asks a source's data plane whether it takes the source's write key, with an empty batch, which stores nothing.
 * Returns true when it does; why then says so in words, else what is wrong and what to do. For a file:// sink: whether
 * the file can be written. */
bool forward_try(const struct config *config, const struct source *source, struct error *why);

/* Notes that a data plane which refused has been found mended, or that somebody wants what waits to be tried now, for
 * the process that forwards, on whichever machine: its sources that wait for the operator try one event at once, and
 * those that back off are due. Wake it then (queue_wake). Returns false when it could not be noted, with
 * the reason and where (why may be NULL). */
bool forward_mended(const struct config *config, struct error *why);

#endif
