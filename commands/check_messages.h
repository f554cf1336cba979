/* What a source's settings mean for the destination that gets its messages. */
#ifndef COMMANDS_CHECK_MESSAGES_H
#define COMMANDS_CHECK_MESSAGES_H

#include "config/config.h"

/* Prints a line for each setting that changes the messages; none for a source with the defaults. */
void check_messages(const struct source *source);

#endif
