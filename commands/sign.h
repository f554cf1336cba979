/* Signs a body as Close does, to send it. */
#ifndef COMMANDS_SIGN_H
#define COMMANDS_SIGN_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

#define SIGN_HEX_SIZE 65

/* Writes what the header close-sig-hash holds for this close-sig-timestamp and body, NUL-terminated. Returns false when
 * memory ran out. */
bool sign_body(const struct signature_key *key, const char *timestamp, const char *body, size_t length,
               char out[static SIGN_HEX_SIZE]);

#endif
