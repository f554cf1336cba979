/* Asking Close about the keys of a backup: see restore_keys.h. */
#include "commands/restore_keys.h"

#include <string.h>

#include "base/files.h"
#include "closeapi/subscriptions.h"

#define PATIENCE_MS 8000

static bool read_key(const struct backup_file *file, struct restore_key *key)
{
    return strncmp(file->name, "keys/", 5) == 0 &&
           small_value(file->bytes, "source", key->source, sizeof key->source) &&
           small_value(file->bytes, "subscription", key->subscription, sizeof key->subscription);
}

/* Judges the keys of one source. */
static void judge_source(const struct config *config, const struct source *source, struct restore_key *keys,
                         size_t count)
{
    static const struct close_options options = {.patience_ms = PATIENCE_MS, .stop_fd = -1};
    struct subscriptions list = {0};
    struct error why = {0};
    struct close_client *client = close_client_new(config, source, &options, &why);
    bool asked = client != NULL && subscriptions_list(client, &list, &why) == CLOSE_DONE;
    for (size_t i = 0; i < count; i++) {
        if (keys[i].fate != KEY_UNKNOWN || strcmp(keys[i].source, source->name) != 0)
            continue;
        if (asked)
            keys[i].fate = subscriptions_find(&list, keys[i].subscription) != NULL ? KEY_GOOD : KEY_GONE;
        else
            keys[i].why = why;
    }
    subscriptions_free(&list);
    close_client_free(client);
}

void restore_judge_keys(const struct config *config, const struct backup_files *files, struct restore_key *keys)
{
    bool any[64] = {false}; /* of the first sources; of more Close is asked in any case */
    for (size_t i = 0; i < files->count; i++) {
        keys[i] = (struct restore_key){.fate = KEY_NONE};
        if (!read_key(&files->at[i], &keys[i]))
            continue;
        keys[i].fate = KEY_UNKNOWN;
        const struct source *source = config_source(config, keys[i].source);
        if (source == NULL)
            error_set(&keys[i].why, "source %.60s is not in the configuration", keys[i].source);
        else if (source->close_api_key == NULL)
            error_set(&keys[i].why, "source %.60s has no close_api_key", keys[i].source);
        else if ((size_t)(source - config->source) < sizeof any / sizeof *any)
            any[source - config->source] = true;
    }
    for (size_t i = 0; i < config->sources; i++) {
        if (config->source[i].close_api_key != NULL && (i >= sizeof any / sizeof *any || any[i]))
            judge_source(config, &config->source[i], keys, files->count);
    }
}
