/* How far this machine has heard what the others say of themselves: see kept.h. The folder `machines` below the state
 * directory has that, and whatever a speaker stores there of what it hears. */
#ifndef KEPT_HEARD_H
#define KEPT_HEARD_H

#include <stdbool.h>
#include <stdint.h>

#include "kept/copies.h"

#define HEARD_FOLDER "machines"

struct heard {
    char origin[ORIGIN]; /* of the place where they say it; "": nowhere yet */
    int64_t version;     /* of the last record that was heard */
    int64_t at_ms;       /* when the place was asked last; Unix time */
};

/* Reads it; what cannot be read is zero. Returns false where there is nothing. */
bool heard_read(const char *state_dir, struct heard *heard);

/* Notes it with the current time; not synced. A failure makes that it is heard again. */
void heard_write(const char *state_dir, const struct heard *heard);

/* Makes the folder, and removes what was heard elsewhere unless it was this place. */
void heard_begin(const char *state_dir, struct heard *heard, const char *origin);

#endif
