/* Changing the keys that `subscribe` obtained: see keys.h. */
#include "kept/keys.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "kept/kept.h"

bool kept_keys_read(const struct config *config, struct keyring *keyring, struct error *why)
{
    *keyring = (struct keyring){NULL, 0};
    return kept_is_known(config, why) && keyring_read(config->state_dir, keyring, why);
}

/* One change by itself. text NULL: the file is removed. */
static bool change(const struct config *config, const char *directory, const char *name, const char *text,
                   struct error *why)
{
    struct kept *kept = kept_open(config, why);
    bool good = kept != NULL &&
                (text == NULL ? kept_remove(kept, directory, name, why) : kept_put(kept, directory, name, text, why));
    kept_close(kept);
    return good;
}

bool kept_key_store(const struct config *config, const struct held_key *key, const char *hex, const char *url,
                    struct error *why)
{
    char directory[FILES_PATH], name[256], text[3000];
    unsigned char bytes[KEYRING_BYTES];
    if (!keyring_decode(hex, bytes)) {
        error_set(why, "Close gave a signature_key that is not %d hexadecimal digits", 2 * KEYRING_BYTES);
        return false;
    }
    explicit_bzero(bytes, sizeof bytes);
    if (!keyring_name(name, key->source, key->subscription, why) ||
        !files_make_directory(directory, config->state_dir, "keys", why) ||
        !signed_note(config->state_dir, key->source, key->subscription, why))
        return false;
    snprintf(text, sizeof text,
             "source = %s\nsubscription = %s\ncreated_ms = %lld\nsignature_key = %s\nurl = %.2000s\n", key->source,
             key->subscription, (long long)key->created_ms, hex, url);
    bool good = change(config, directory, name, text, why);
    explicit_bzero(text, sizeof text);
    return good;
}

/* Whether the file exists and holds a different key. */
static bool holds_another(const char *directory, const char *name, const struct held_key *key)
{
    struct held_key there;
    struct error why;
    char path[FILES_PATH + 256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (access(path, F_OK) != 0)
        return false;
    bool same = keyring_read_key(directory, name, &there, &why) && memcmp(there.bytes, key->bytes, KEYRING_BYTES) == 0;
    explicit_bzero(&there, sizeof there);
    return !same;
}

bool kept_key_rename(const struct config *config, const struct held_key *key, const char *to, bool *taken,
                     struct error *why)
{
    char directory[FILES_PATH], old_name[256], new_name[256], hex[2 * KEYRING_BYTES + 2], url[2100];
    struct held_key renamed = *key;
    *taken = false;
    if (!files_make_directory(directory, config->state_dir, "keys", why) ||
        !keyring_name(old_name, key->source, key->subscription, why) ||
        !keyring_name(new_name, to, key->subscription, why))
        return false;
    if (holds_another(directory, new_name, key)) {
        *taken = true;
        return true;
    }
    char *text = files_read(directory, old_name, NULL, why);
    if (text == NULL)
        return false;
    files_value(text, "signature_key", hex, sizeof hex);
    files_value(text, "url", url, sizeof url);
    files_free(text);
    snprintf(renamed.source, sizeof renamed.source, "%s", to);
    bool good =
        kept_key_store(config, &renamed, hex, url, why) && kept_key_remove(config, key->source, key->subscription, why);
    explicit_bzero(hex, sizeof hex);
    explicit_bzero(&renamed, sizeof renamed);
    return good;
}

bool kept_key_remove(const struct config *config, const char *source, const char *subscription, struct error *why)
{
    char directory[FILES_PATH], name[256];
    return keyring_name(name, source, subscription, why) &&
           files_make_directory(directory, config->state_dir, "keys", why) &&
           change(config, directory, name, NULL, why) && signed_forget(config->state_dir, source, subscription, why);
}
