/* Forwarding for a while, by a process that has something else to do or is to end soon: the CGI request's child, cron,
 * a person at a shell. */
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

/* Takes the reading if it can, forwards until nothing that is due is left or the deadline, lets go, and looks once more
 * for what came in between, since who brought that found the reading taken. What is with a data plane at the deadline
 * is awaited; at a signal for shutdown_grace only. Call with no queue open in this thread's hands; other threads must
 * not want those signals meanwhile. */
enum bounded bounded_forward(const struct config *config, moment deadline, struct error *why);

#endif
