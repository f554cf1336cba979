/* Error texts for a file or directory that belongs to another user than the one this process runs as. */
#ifndef BASE_OWNER_H
#define BASE_OWNER_H

#include <sys/types.h>

#include "base/error.h"

/* Writes the user's name, or the number of a user without a name. Returns out. */
#define OWNER_NAME 64
const char *owner_name(uid_t user, char out[static OWNER_NAME]);

/* Sets why: the owner, the user this process runs as (geteuid), and commands to fix it, ready to be typed. what: "the
 * state directory"; path: its path; owner: its owner; instead: what to do in the place of changing the owner, where
 * that might do harm; NULL: it does none. Any thread. */
void owner_error(const char *what, const char *path, uid_t owner, const char *instead, struct error *why);

#endif
