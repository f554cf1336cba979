/* What is known of a source on the Close side, and its keys, given to another name: for `queue move`. */
#ifndef CLOSEAPI_MOVE_H
#define CLOSEAPI_MOVE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "config/config.h"

struct closeapi_moved {
    size_t keys;  /* signature keys that subscribe obtained */
    size_t files; /* of STATE_DIR/closeapi/SOURCE: positions, pauses, a rotation */

    /* Called for each thing that cannot be moved since the new source has one already; what it has stays. */
    void (*stays)(void *context, const char *words);
    void *context;
};

/* Whether there is anything to be moved. */
bool closeapi_has_any(const struct config *config, const char *from);

/* Moves it, file by file, while no other process works on either. Killed anywhere and called again it goes on. Returns
 * false with the reason. */
bool closeapi_move(const struct config *config, const char *from, const struct source *to, struct closeapi_moved *moved,
                   struct error *why);

#endif
