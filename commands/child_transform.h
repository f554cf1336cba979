/* Transforms a body in a child process: a body that crashes the parser, or keeps it busy for ever, costs the message
 * and nothing else. */
#ifndef COMMANDS_CHILD_TRANSFORM_H
#define COMMANDS_CHILD_TRANSFORM_H

#include <stddef.h>

#include "transform/transform.h"

enum child_result {
    CHILD_MESSAGE,  /* the message was appended to out */
    CHILD_DROPPED,  /* the rules `keep` and `drop` leave the event out */
    CHILD_UNUSABLE, /* the body is no Close event: why says why */
    CHILD_FAILED,   /* the child died, or could not be started: why says why */
};

/* Makes the message, in 20 s of CPU time at most. rules NULL: makes none, and returns CHILD_MESSAGE for a usable body.
 * Call only from a process with one thread. */
enum child_result child_transform_message(const char *body, size_t length, const struct rules *rules,
                                          struct buffer *out, struct error *why);

/* Reads the identity by which deliveries of this event are recognized as the same. Returns CHILD_MESSAGE,
 * CHILD_UNUSABLE or CHILD_FAILED. The same conditions. */
enum child_result child_transform_identity(const char *body, size_t length, struct identity *identity,
                                           struct error *why);

#endif
