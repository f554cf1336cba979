/* That a source had a signature key: a source that had one is never open to its write key alone because its keys are
 * missing or cannot be read. A file for each source, STATE_DIR/signed/SOURCE, apart from the keys, with the
 * subscriptions whose keys `subscribe` obtained; the queue's database notes the same (queue/sqlite). Nothing but
 * `signature_key = none` in the configuration opens the source again. */
#ifndef CONFIG_SIGNED_H
#define CONFIG_SIGNED_H

#include <stdbool.h>

#include "base/error.h"
#include "config/config.h"
#include "config/keyring.h"

/* Notes it, unless it is noted; subscription: whose key it is; NULL: one of the configuration. Without a state
 * directory nothing is noted. Returns false with the reason. */
bool signed_note(const char *state_dir, const char *source, const char *subscription, struct error *why);

/* Forgets a subscription, whose key is wanted no more; that the source had a key stays. */
bool signed_forget(const char *state_dir, const char *source, const char *subscription, struct error *why);

/* Forgets all subscriptions of which is_there says that they are not. */
bool signed_retain(const char *state_dir, const char *source, bool (*is_there)(const void *context, const char *id),
                   const void *context, struct error *why);

/* Whether it is noted. What cannot be read counts as noted. */
bool signed_is_noted(const char *state_dir, const char *source);

/* Gives the note to another source, whose own stays. */
bool signed_rename(const char *state_dir, const char *from, const char *to, struct error *why);

enum signed_state {
    SIGNED_NEVER, /* it never had a key, or `signature_key = none`: its write keys count */
    SIGNED_HELD,  /* all keys that it had are held */
    SIGNED_PART,  /* it has a key, but not that of every subscription */
    SIGNED_LOST,  /* it had one, and none can be had: nothing is let in */
};

/* How it is with a source's keys. held: those in the state directory; NULL: they cannot be read, for the reason in
 * *unread. *unnoted: a key is there that the note does not have yet. Of PART and LOST words say what is missing and
 * what to do. Reads the note only. */
enum signed_state signed_judge(const struct config *config, const struct source *source, const struct keyring *held,
                               const struct error *unread, bool *unnoted, struct error *words);

/* The same for a command: reads the keys, too. */
enum signed_state signed_look(const struct config *config, const struct source *source, struct error *words);

#endif
