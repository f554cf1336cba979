/* The signature keys that `subscribe` obtained. Each has a file of its own in the state directory, so that running
 * processes find a new key at once and the configuration file is never modified. Mode 0600,
 * STATE_DIR/keys/SOURCE-SUBSCRIPTION.key. */
#ifndef CONFIG_KEYRING_H
#define CONFIG_KEYRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/error.h"
#include "config/config.h"

#define KEYRING_ID 80 /* bytes of a subscription id, with its NUL */
#define KEYRING_BYTES 32

struct held_key {
    char source[128];
    char subscription[KEYRING_ID]; /* "": none (a probe's key) */
    int64_t created_ms;            /* Unix time, from Close's clock */
    unsigned char bytes[KEYRING_BYTES];
};

/* Zero-initialized: empty. Free with keyring_free, which overwrites the keys. */
struct keyring {
    struct held_key *at;
    size_t count;
};

/* The directory's last known state; zero-initialized: never examined. */
struct keyring_look {
    struct timespec changed;
    bool there;
    bool settled; /* unchanged for long enough that a further change alters its time */
};

/* Returns whether the directory may have changed; updates *look. Costs one stat. state_dir NULL: never changes. */
bool keyring_changed(const char *state_dir, struct keyring_look *look);

/* Reads all keys. A missing directory holds none; a file that is no key is left out, with a line in the log. Returns
 * false with the reason when the directory cannot be read. */
bool keyring_read(const char *state_dir, struct keyring *keyring, struct error *why);

void keyring_free(struct keyring *keyring);

/* Whether a subscription id may be used in names of files and paths of URLs. */
bool keyring_id_is_good(const char *id);

/* Stores a key durably. hex: 64 hexadecimal digits. Returns false with the reason. */
bool keyring_store(const char *state_dir, const struct held_key *key, const char *hex, const char *url,
                   struct error *why);

/* Moves a key, as read by keyring_read, to another source: stores it there, then removes it here. *taken: that source
 * has a different key for this subscription; both are kept. Returns false with the reason. */
bool keyring_rename(const char *state_dir, const struct held_key *key, const char *to, bool *taken, struct error *why);

/* Removes temporary files older than a minute of killed keyring_store calls. */
void keyring_tidy(const char *state_dir);

/* Removes a key. A missing one is no error. */
bool keyring_remove(const char *state_dir, const char *source, const char *subscription, struct error *why);

/* Records that a request signed with this subscription's key arrived, for `rotate`; and reads that record. */
void keyring_mark_used(const char *state_dir, const char *subscription);
bool keyring_was_used(const char *state_dir, const char *subscription);

#endif
