/* The keys that `subscribe` obtained (config/keyring.h), where several machines may share them. */
#ifndef KEPT_KEYS_H
#define KEPT_KEYS_H

#include "config/keyring.h"

/* As keyring_read; returns false likewise on a machine that does not know yet which keys there are (kept_is_known). */
bool kept_keys_read(const struct config *config, struct keyring *keyring, struct error *why);

/* Stores a key durably. hex: 64 hexadecimal digits. Returns false with the reason. */
bool kept_key_store(const struct config *config, const struct held_key *key, const char *hex, const char *url,
                    struct error *why);

/* Moves a key, as read by kept_keys_read, to another source: stores it there, then removes it here. *taken: that source
 * has a different key for this subscription; both are kept. Returns false with the reason. */
bool kept_key_rename(const struct config *config, const struct held_key *key, const char *to, bool *taken,
                     struct error *why);

/* Removes a key. A missing one is no error. */
bool kept_key_remove(const struct config *config, const char *source, const char *subscription, struct error *why);

#endif
