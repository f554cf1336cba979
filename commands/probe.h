/* Trying an address before and after Close is given it. */
#ifndef COMMANDS_PROBE_H
#define COMMANDS_PROBE_H

#include "config/config.h"

/* Sends an unsigned GET, which the program answers with a sentence of its own. Returns COMMAND_OK when that came; else
 * stderr says what came, and what to do. */
int probe_address(const char *command, const char *url);

/* Sends a small and a large request, signed with the key, and prints what became of them, and how large they may be.
 * Returns an exit code. */
int probe_sizes(const struct config *config, const char *url, const struct signature_key *key);

#endif
