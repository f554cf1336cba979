/* Says what a test event was answered and, where it was not taken, what to change. */
#ifndef COMMANDS_EXPLAIN_H
#define COMMANDS_EXPLAIN_H

#include <stddef.h>

#include "commands/delivery.h"

/* Prints to stdout: status, time and words of the answer, or why there is none, and the advice. sent: bytes of the body
 * that was sent. Returns an exit code: COMMAND_OK only for 200 with the body `ok`, in the time that Close gives. */
int explain_answer(const struct delivery_answer *answer, size_t sent);

#endif
