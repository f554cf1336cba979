/* The signature keys that `subscribe` obtained: each in a file of its own in the state directory, so that running
 * processes find a new one at once and no configuration has to be written by a program. Files of mode 0600 in
 * STATE_DIR/keys, SOURCE-SUBSCRIPTION.key. */
#ifndef CONFIG_KEYRING_H
#define CONFIG_KEYRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/error.h"
#include "config/config.h"

#define KEYRING_ID 80 /* bytes of a subscription's id, with its zero byte */
#define KEYRING_BYTES 32

struct held_key {
    char source[128];
    char subscription[KEYRING_ID]; /* "" : of none (a probe) */
    int64_t created_ms;            /* Unix time by Close's clock */
    unsigned char bytes[KEYRING_BYTES];
};

/* All zero is empty; free with keyring_free, which overwrites. */
struct keyring {
    struct held_key *at;
    size_t count;
};

/* How the directory looked; all zero: not looked at yet. */
struct keyring_look {
    struct timespec changed;
    bool there;
    bool settled; /* it had stood unchanged for a while: another change would show */
};

/* Whether the directory may have changed since; sets *look to how it is now. Costs one stat. state_dir NULL: never. */
bool keyring_changed(const char *state_dir, struct keyring_look *look);

/* Reads all keys. A missing directory holds none; a file that is no key is left out, with a line in the log. Returns
 * false with the reason when the directory cannot be read. */
bool keyring_read(const char *state_dir, struct keyring *keyring, struct error *why);

void keyring_free(struct keyring *keyring);

/* Whether a subscription id may be used in names of files and paths of URLs. */
bool keyring_id_is_good(const char *id);

/* Stores a key: written, synced, renamed, synced. hex: 64 hexadecimal digits. Returns false with the reason. */
bool keyring_store(const char *state_dir, const struct held_key *key, const char *hex, const char *url,
                   struct error *why);

/* Gives a key, as keyring_read found it, to another source: first stored there, then removed here. *taken: that source
 * has another key of this subscription, and both stay as they are. Returns false with the reason. */
bool keyring_rename(const char *state_dir, const struct held_key *key, const char *to, bool *taken, struct error *why);

/* Removes what a keyring_store left behind that was killed, more than a minute ago. */
void keyring_tidy(const char *state_dir);

/* Removes one. One that is not there is fine. */
bool keyring_remove(const char *state_dir, const char *source, const char *subscription, struct error *why);

/* Notes that a request signed with this subscription's key came, for `rotate`; and whether one ever did. */
void keyring_mark_used(const char *state_dir, const char *subscription);
bool keyring_was_used(const char *state_dir, const char *subscription);

#endif
