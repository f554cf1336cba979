/* The message that a body makes, made in a process of its own: a body that crashes the parser, or never lets it end,
 * costs the message and nothing else. */
#ifndef COMMANDS_CHILD_TRANSFORM_H
#define COMMANDS_CHILD_TRANSFORM_H

#include <stddef.h>

#include "transform/transform.h"

enum child_result {
    CHILD_MESSAGE,  /* it was appended to out */
    CHILD_DROPPED,  /* keep or drop leave it out */
    CHILD_UNUSABLE, /* it is no Close event, and why says why */
    CHILD_FAILED,   /* it could not be made, and why says why: the process died, or there was none to be had */
};

/* Makes the message in a child, which may take as long as 20 s of CPU time. rules NULL: makes none, and tells MESSAGE
 * of a body that is usable. Call only from a process with one thread. */
enum child_result child_transform_message(const char *body, size_t length, const struct rules *rules,
                                          struct buffer *out, struct error *why);

/* Finds out, likewise, what makes deliveries of this event the same. Returns MESSAGE, UNUSABLE or FAILED. */
enum child_result child_transform_identity(const char *body, size_t length, struct identity *identity,
                                           struct error *why);

#endif
