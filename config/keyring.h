/* The signature keys that `subscribe` obtained. Each has a file of its own in the state directory, so that
 * running processes find a new key at once and the configuration file is never modified. Mode 0600,
 * STATE_DIR/keys/SOURCE-SUBSCRIPTION.key. And the record of which sources had a key. */
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

/* Reads one key. Returns false with the reason when the file holds none. */
bool keyring_read_key(const char *directory, const char *name, struct held_key *key, struct error *why);

/* The name of a key's file. Returns false with the reason. */
#define KEYRING_NAME 256
bool keyring_name(char out[static KEYRING_NAME], const char *source, const char *subscription, struct error *why);

/* Decodes a key of 64 hexadecimal digits. */
bool keyring_decode(const char *hex, unsigned char out[static KEYRING_BYTES]);

/* Removes temporary files older than a minute of killed kept_key_store calls. */
void keyring_tidy(const char *state_dir);

/* Records that a request signed with this subscription's key arrived, for `rotate`; and reads that record. */
void keyring_mark_used(const char *state_dir, const char *subscription);
bool keyring_was_used(const char *state_dir, const char *subscription);

/* ---- A persistent record that a source had a signature key: such a source never accepts its write key alone just
 * because its keys are missing or unreadable. One file per source, STATE_DIR/signed/SOURCE, separate from the keys,
 * listing the subscriptions whose keys `subscribe` obtained; the queue's database holds the same record (queue/sqlite).
 * Only `signature_key = none` in the configuration opens the source again. ---- */

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

/* ---- source_keys.c: Which signature keys a source has: those of the configuration, and those that `subscribe`
 * obtained. The one place that knows: what accepts requests, what sends tests, and what tells people about keys all ask
 * it. ---- */

/* Zero-initialized: none. Free with source_keys_free. */
struct source_keys {
    struct signature_key *at;  /* those of the configuration first; their bytes are borrowed from it and the keyring */
    const char **subscription; /* of each: whose key it is, borrowed from the keyring; NULL: of the configuration */
    size_t count;
    size_t configured; /* how many of them the configuration has */

    /* Set by source_keys_read only. */
    enum signed_state state; /* whether the source takes signed requests, and whether a key is missing */
    struct error words;      /* of PART and LOST: what is missing and what to do */
    struct error unread;     /* why the state directory's keys could not be read, so that they are not here; "": read */
    struct keyring held;     /* what is borrowed */
};

/* Lists the keys of a source. held: the keys in the state directory; NULL: none. Returns false when memory is out; then
 * there is nothing to free. */
bool source_keys_list(struct source_keys *keys, const struct source *source, const struct keyring *held);

/* As source_keys_list, for commands: reads the state directory itself, and judges. */
bool source_keys_read(struct source_keys *keys, const struct config *config, const struct source *source);

void source_keys_free(struct source_keys *keys);

/* Writes where the keys come from: "key of whsub_1, whsub_2 (state/keys)", "signature_key of the configuration", both
 * with an "and" between; "" when there are none. What does not fit is left out. Returns out. */
#define SOURCE_KEYS_WORDS 400
const char *source_keys_words(const struct source_keys *keys, const struct config *config,
                              char out[static SOURCE_KEYS_WORDS]);

/* The same of one of the keys. */
const char *source_key_words(const struct source_keys *keys, size_t which, const struct config *config,
                             char out[static SOURCE_KEYS_WORDS]);

#endif
