/* Probing the way from the internet to the program: signed requests that it answers and does not keep. */
#ifndef COMMANDS_PROBE_H
#define COMMANDS_PROBE_H

#include "config/config.h"

/* Sends a small request and one just under max_body that looks like an HTML e-mail, says what came back and whose limit
 * it probably is. key signs them. Returns an exit code: COMMAND_OK when both got through. */
int probe_url(const struct config *config, const char *url, const struct signature_key *key);

#endif
