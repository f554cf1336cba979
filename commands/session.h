/* What a command works on: the configuration, the source and the event that its arguments name, and the queue. The
 * queue is opened as the state directory's owner where root calls, and never created here: only the running program
 * knows the right owner. */
#ifndef COMMANDS_SESSION_H
#define COMMANDS_SESSION_H

#include <stdbool.h>

#include "config/config.h"
#include "config/own_command.h"
#include "queue/inspect.h"
#include "transform/transform.h"

/* Reads the configuration. NULL when it cannot be used: then stderr has all that is wrong with it, a line each, and the
 * command returns COMMAND_CONFIGURATION. */
struct config *session_configuration(const char *command);

/* The same; where there is no configuration at all, *missing is set and nothing is said. */
struct config *session_configuration_if_any(const char *command, bool *missing);

struct session {
    struct config *config;
    struct queue *queue;
    int code; /* the command's exit code, set when opening failed */
};

/* Reads the configuration and opens its queue. Returns false, with nothing to close, when it cannot; then stderr has
 * the command's name and the reason, and session->code is the exit code. */
bool session_open(struct session *session, const char *command);

/* The first part of session_open: reads the configuration and becomes the owner. Returns false likewise. */
bool session_prepare(struct session *session, const char *command);

void session_close(struct session *session);

/* Prints "COMMAND: reason" on stderr. Returns COMMAND_FAILED. */
int session_failed(const char *command, const struct error *why);

enum session_place {
    SESSION_PLACE_READY,
    SESSION_PLACE_MISSING, /* there is no directory (yet) */
    SESSION_PLACE_BARRED,  /* it cannot be read, or belongs to another user */
    SESSION_PLACE_NONE,    /* the configured queue needs none */
};

/* Looks for the state directory and, where root calls, becomes its owner, with that user's group, for the rest of the
 * process. Creates nothing. Anything but READY and NONE comes with a reason that says what to do. Before threads start.
 */
enum session_place session_become_owner(const struct config *config, struct error *why);

/* Becomes the owner, for a command that may create a missing state directory as the running program would. Not root:
 * the directory must not belong to root. Returns false with the reason when the queue must not be opened. */
bool session_may_open(const struct config *config, struct error *why);

/* Prints on `out` which other processes have the queue open, a line each. Returns how many it found. */
size_t session_print_holders(const struct config *config, FILE *out);

/* The source of that name; name NULL: the only one. Returns NULL when there is no such source or it must be named; then
 * stderr says which there are. command is its name for that message. Lives as long as config. */
const struct source *session_source(const struct config *config, const char *name, const char *command);

/* Finds out whether the queue has ever held anything of a source of that name, configured or not. Returns false with
 * the reason when the queue failed. */
bool session_knows_source(struct queue *queue, const char *name, bool *known, struct error *why);

/* Reads the waiting event of that number. Returns whether it is there, -1 when the queue failed. */
int session_read_event(struct queue *queue, const char *source, uint64_t id, struct events *events, struct error *why);

#define SESSION_SOURCE 104 /* bytes of a source's name, with its NUL */

/* Reads the waiting event that a number from `queue list` means. Each source counts for itself, so that several may
 * have that number: wanted says which is meant; NULL: the only one that has it. Returns false with the reason. */
bool session_find_event(struct queue *queue, uint64_t id, const char *wanted, char source[static SESSION_SOURCE],
                        struct events *events, struct error *why);

#endif
