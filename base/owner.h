/* What to say where a file or folder belongs to another user than the one as whom this process runs. */
#ifndef BASE_OWNER_H
#define BASE_OWNER_H

#include <sys/types.h>

#include "base/error.h"

/* The user's name, or without one the number. Returns out. */
#define OWNER_NAME 64
const char *owner_name(uid_t user, char out[static OWNER_NAME]);

/* Says in why whose it is, as whom this runs (geteuid), and what to do, with commands that can be typed as they are.
 * what: "the state directory"; path: of it; owner: the user to whom it belongs. Any thread. */
void owner_why(const char *what, const char *path, uid_t owner, struct error *why);

#endif
