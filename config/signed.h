/* A persistent record that a source had a signature key: such a source never accepts its write key alone just because
 * its keys are missing or unreadable. One file per source, STATE_DIR/signed/SOURCE, separate from the keys, listing the
 * subscriptions whose keys `subscribe` obtained; the queue's database holds the same record (queue/sqlite). Only
 * `signature_key = none` in the configuration opens the source again. */
#ifndef CONFIG_SIGNED_H
#define CONFIG_SIGNED_H

#include <stdbool.h>

#include "base/error.h"
#include "config/config.h"
#include "config/keyring.h"

/* Records that the source has a key, unless recorded. subscription: the key's; NULL: the key is from the configuration.
 * Without a state directory nothing is recorded. Returns false with the reason. */
bool signed_note(const char *state_dir, const char *source, const char *subscription, struct error *why);

/* Removes a subscription whose key is no longer needed; the source still counts as signed. */
bool signed_forget(const char *state_dir, const char *source, const char *subscription, struct error *why);

/* Removes all subscriptions for which is_there returns false. */
bool signed_retain(const char *state_dir, const char *source, bool (*is_there)(const void *context, const char *id),
                   const void *context, struct error *why);

/* Whether the source is recorded as signed. An unreadable record counts as yes. */
bool signed_is_noted(const char *state_dir, const char *source);

/* Moves the record to another source, unless that has one. */
bool signed_rename(const char *state_dir, const char *from, const char *to, struct error *why);

enum signed_state {
    SIGNED_NEVER, /* never had a key, or `signature_key = none`: write keys suffice */
    SIGNED_HELD,  /* all its keys are available */
    SIGNED_PART,  /* some of its keys are available, not those of every subscription */
    SIGNED_LOST,  /* had a key, and none is available: no request is accepted */
};

/* Determines the state of a source's keys. held: the keys in the state directory; NULL: unreadable, for the reason in
 * *unread. *unnoted: a key exists that is not recorded yet. For PART and LOST, words says what is missing and what to
 * do. Only reads the record. */
enum signed_state signed_judge(const struct config *config, const struct source *source, const struct keyring *held,
                               const struct error *unread, bool *unnoted, struct error *words);

/* As signed_judge, for commands: reads the keys itself. */
enum signed_state signed_look(const struct config *config, const struct source *source, struct error *words);

#endif
