/* Which signature keys a source has: those of the configuration, and those that `subscribe` obtained. The one place
 * that knows: what accepts requests, what sends tests, and what tells people about keys all ask it. */
#ifndef CONFIG_SOURCE_KEYS_H
#define CONFIG_SOURCE_KEYS_H

#include "config/config.h"
#include "config/keyring.h"

#include <stdbool.h>
#include <stddef.h>

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
