/* Forwarding for a limited time, by a process that has something else to do or is to end soon: the CGI request's child,
 * cron, a person at a shell. */
#ifndef PROCESS_BOUNDED_H
#define PROCESS_BOUNDED_H

#include "base/clock.h"
#include "base/error.h"
#include "config/config.h"

enum bounded {
    BOUNDED_DONE,      /* nothing that is due is left, or the time was over */
    BOUNDED_STOPPED,   /* SIGTERM or SIGINT came, or the queue must be opened anew */
    BOUNDED_ELSEWHERE, /* another process forwards, and why says so */
    BOUNDED_FAILED,    /* the queue cannot be opened, and why says why */
};

/* Claims the queue (the consumer lock) if it can, forwards until nothing due is left or the deadline has passed,
 * releases the claim, and looks once more for events that came in between: the process that stored them found the queue
 * claimed and left them to this one. Batches in flight at the deadline are awaited; at a signal for shutdown_grace
 * only. The calling thread must have no queue open, and no other thread may wait for SIGTERM or SIGINT meanwhile. */
enum bounded bounded_forward(const struct config *config, moment deadline, struct error *why);

#endif
