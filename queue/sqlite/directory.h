/* The state directory: private to its user, on one machine; and the small files in it beside the database. */
#ifndef QUEUE_SQLITE_DIRECTORY_H
#define QUEUE_SQLITE_DIRECTORY_H

#include <stdbool.h>

#include "base/error.h"

#define STATE_PATH 4096

/* Makes the directory if it is missing, 0700, and looks at it. Returns false with the reason, and the command that
 * mends it, when it cannot be used or others can get in. */
bool directory_prepare(const char *directory, struct error *why);

/* Says loudly which files of it are not what they should be, and work all the same: links, or another user's. */
void directory_warn(const char *directory);

/* Writes directory/name. */
void directory_path(char out[static STATE_PATH], const char *directory, const char *name);

/* Opens, and makes with mode 0600, a file in it. Returns -1 with the reason. */
int directory_open(const char *directory, const char *name, struct error *why);

/* ---- the mark of damage: whoever opens the database next repairs it ---- */

void damage_mark(const char *directory);
bool damage_is_marked(const char *directory);
void damage_unmark(const char *directory);

/* ---- waking the forwarder, from any process: a FIFO ---- */

/* For the owner: readable when something came. Never at its end, whoever opens and closes. Returns -1 with the reason.
 */
int wake_open(const char *directory, struct error *why);

/* Wakes it. *fd: -1 before the first call; kept open in between. Nobody there to be woken is fine. */
void wake_send(const char *directory, int *fd);

/* The same, with a byte that says: look for requests of commands too. */
#define WAKE_ASKS 'r'
void wake_ask(const char *directory, int *fd);

#endif
