/* The queue of the configuration, opened for a command: as the state directory's owner where root calls, and never made
 * anew, for only the running program knows whose it must be. */
#ifndef COMMANDS_SESSION_H
#define COMMANDS_SESSION_H

#include <stdbool.h>

#include "config/config.h"
#include "queue/inspect.h"

struct state {
    struct config *config;
    struct queue *queue;
    int code; /* once it could not be opened: the command's exit code */
};

/* Reads the configuration and opens its queue. Returns false, with nothing to close, when it cannot; then stderr has
 * the command's name and the reason, and state->code is the exit code. */
bool state_open(struct state *state, const char *command);

/* The first part of it: reads the configuration and takes on the owner. Returns false likewise. */
bool state_prepare(struct state *state, const char *command);

void state_close(struct state *state);

/* Says on stderr what the command failed at. Returns COMMAND_FAILED. */
int state_failed(const char *command, const struct error *why);

enum state_place {
    STATE_THERE,
    STATE_MISSING, /* there is no directory (yet) */
    STATE_BARRED,  /* it cannot be looked at, or is another user's */
    STATE_NONE,    /* the configured queue needs none */
};

/* Looks for the state directory and, where root calls, takes on its owner's user and groups for the rest of the
 * process. Makes nothing. What is not THERE or NONE has a reason that says what to do. Before threads start. */
enum state_place state_take_on_owner(const struct config *config, struct error *why);

/* Takes on the owner for a command that may make the directory where it is missing, as the running program would: not
 * root, for it must not be root's. Returns false with the reason when the queue must not be opened. */
bool state_may_open(const struct config *config, struct error *why);

/* Says on `out` which other processes have the queue open, a line each. Returns how many it found. */
size_t state_holders(const struct config *config, FILE *out);

#endif
