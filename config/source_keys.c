/* Which signature keys a source has: see keyring.h. */
#include "config/keyring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_held_for(const struct keyring *held, size_t at, const struct source *source)
{
    return strcmp(held->at[at].source, source->name) == 0;
}

bool source_keys_list(struct source_keys *keys, const struct source *source, const struct keyring *held)
{
    size_t most = source->signature_keys + (held == NULL ? 0 : held->count);
    *keys = (struct source_keys){.configured = source->signature_keys};
    keys->at = calloc(most + 1, sizeof *keys->at);
    keys->subscription = calloc(most + 1, sizeof *keys->subscription);
    if (keys->at == NULL || keys->subscription == NULL) {
        source_keys_free(keys);
        return false;
    }
    for (; keys->count < source->signature_keys; keys->count++)
        keys->at[keys->count] = source->signature_key[keys->count];
    for (size_t i = 0; held != NULL && i < held->count; i++) {
        if (!is_held_for(held, i, source))
            continue;
        keys->subscription[keys->count] = held->at[i].subscription;
        keys->at[keys->count++] = (struct signature_key){held->at[i].bytes, KEYRING_BYTES};
    }
    return true;
}

bool source_keys_read(struct source_keys *keys, const struct config *config, const struct source *source)
{
    struct keyring held;
    struct error unread = {0};
    bool unnoted, is_read = keyring_read(config->state_dir, &held, &unread);
    if (!source_keys_list(keys, source, is_read ? &held : NULL)) {
        keyring_free(&held);
        return false;
    }
    keys->state = signed_judge(config, source, is_read ? &held : NULL, &unread, &unnoted, &keys->words);
    keys->held = held; /* its keys stay where they are */
    if (!is_read)
        keys->unread = unread;
    return true;
}

void source_keys_free(struct source_keys *keys)
{
    free(keys->at);
    free(keys->subscription);
    keyring_free(&keys->held);
    *keys = (struct source_keys){0};
}

/* ---- in words ---- */

/* STATE_DIR/keys; from the configuration's folder on where it lies below that. */
static const char *keys_place(const struct config *config, char out[static SOURCE_KEYS_WORDS])
{
    const char *state_dir = config->state_dir == NULL ? "" : config->state_dir;
    const char *slash = config->path == NULL ? NULL : strrchr(config->path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - config->path) + 1;
    if (folder > 0 && strncmp(state_dir, config->path, folder) == 0)
        state_dir += folder;
    snprintf(out, SOURCE_KEYS_WORDS, "%.300s/keys", state_dir);
    return out;
}

/* "key of A, B (state/keys)" of those from first on; "" when there are none. */
static void print_held(const struct source_keys *keys, size_t first, size_t end, const struct config *config,
                       char out[static SOURCE_KEYS_WORDS])
{
    char ids[SOURCE_KEYS_WORDS / 2] = "", place[SOURCE_KEYS_WORDS];
    size_t used = 0;
    for (size_t i = first; i < end; i++) {
        const char *id = keys->subscription[i][0] == '\0' ? "a probe" : keys->subscription[i];
        if (used + strlen(id) + sizeof ", ..." >= sizeof ids) {
            snprintf(ids + used, sizeof ids - used, ", ...");
            break;
        }
        used += (size_t)snprintf(ids + used, sizeof ids - used, "%s%s", used == 0 ? "" : ", ", id);
    }
    if (first < end)
        snprintf(out, SOURCE_KEYS_WORDS, "key of %s (%.180s)", ids, keys_place(config, place));
    else
        out[0] = '\0';
}

const char *source_keys_words(const struct source_keys *keys, const struct config *config,
                              char out[static SOURCE_KEYS_WORDS])
{
    char held[SOURCE_KEYS_WORDS];
    print_held(keys, keys->configured, keys->count, config, held);
    if (keys->configured == 0)
        memcpy(out, held, sizeof held);
    else
        snprintf(out, SOURCE_KEYS_WORDS, "signature_key of the configuration%s%.350s", held[0] == '\0' ? "" : " and ",
                 held);
    return out;
}

const char *source_key_words(const struct source_keys *keys, size_t which, const struct config *config,
                             char out[static SOURCE_KEYS_WORDS])
{
    if (which < keys->configured)
        snprintf(out, SOURCE_KEYS_WORDS, "%s signature_key of the configuration",
                 keys->configured == 1 ? "the" : "the first");
    else
        print_held(keys, which, which + 1, config, out);
    return out;
}
