/* The forwarder: queue → transform → data plane. One face for the FastCGI process's thread, a CGI request and
 * commands. */
#ifndef FORWARD_FORWARD_H
#define FORWARD_FORWARD_H

#include <stdbool.h>

#include "config/config.h"
#include "queue/queue.h"
#include "watch/clock.h"
#include "watch/why.h"

struct forwarder;

/* config and queue are borrowed and must outlive it. Returns NULL with the reason. */
struct forwarder *forwarder_new(const struct config *config, struct queue *queue, struct why *why);

/* Forwards until forwarder_stop, as soon as no other process does. The calling thread owns the queue's reading. */
void forwarder_run(struct forwarder *forwarder);

/* Ends forwarder_run: batches in hand are awaited until the deadline, nothing new is sent. Any thread. */
void forwarder_stop(struct forwarder *forwarder, moment deadline);

void forwarder_free(struct forwarder *forwarder);

/* Asks a source's data plane whether it takes the source's write key, with an empty batch, which stores nothing.
 * Returns true when it does; why then says so in words, else what is wrong and what to do. For a file:// sink: whether
 * the file can be written. */
bool forward_try(const struct config *config, const struct source *source, struct why *why);

#endif
