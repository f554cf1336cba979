/* What is said of a state directory that belongs to another user, or that others can get into. Commands that change its
 * owner or mode are only advised where they harm nothing: it is empty, or holds this program's state. */
#ifndef CONFIG_STATE_FOLDER_H
#define CONFIG_STATE_FOLDER_H

#include "base/error.h"

#include <stdbool.h>
#include <sys/types.h>

/* Whether its owner or mode may be changed without harm. One that cannot be looked into is not known to be so. */
bool state_folder_is_own(const char *path);

/* Sets why: it belongs to another user (base/owner.h), and what to do. */
void state_folder_owner_error(const char *path, uid_t owner, struct error *why);

/* Sets why: others can get into it, and what to do. */
void state_folder_open_error(const char *path, struct error *why);

#endif
