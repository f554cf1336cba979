/* Settings and defaults into the fields of struct config, and out of them again. */
#include "config/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A default that is a path lies beside the configuration file; without a file there is none. */
static bool apply_standard(const struct config *config, const struct key *key, void *base, struct error *why)
{
    if (!key->type->path)
        return key->type->parse(key, key->standard, base, why);
    if (config->path == NULL)
        return true;
    char *path = NULL;
    int folder = (int)(strrchr(config->path, '/') - config->path); /* it is absolute */
    if (asprintf(&path, "%.*s/%s", folder, config->path, key->standard) < 0) {
        error_set(why, "could not be set: out of memory");
        return false;
    }
    bool good = key->type->parse(key, path, base, why);
    free(path);
    return good;
}

static bool apply_key(const struct config *config, const struct key *key, size_t source, void *base, struct error *why)
{
    const struct setting *setting = settings_effective(config, key, source, NULL);
    if (setting == NULL && key->standard[0] != '\0')
        return apply_standard(config, key, base, why);
    for (; setting != NULL; setting = settings_effective(config, key, source, setting)) {
        if (!key->type->parse(key, setting->value, base, why))
            return false;
    }
    return true;
}

bool apply_settings(struct config *config, struct error *why)
{
    size_t count;
    const struct key *key = keys_all(&count);
    for (; count > 0; count--, key++) {
        bool good = true;
        if (key->scope == SCOPE_PROGRAM)
            good = apply_key(config, key, TOP, config, why);
        for (size_t i = 0; key->scope != SCOPE_PROGRAM && good && i < config->sources; i++)
            good = apply_key(config, key, i, &config->source[i], why);
        if (!good) {
            error_prefix(why, "%s ", key->name);
            return false;
        }
    }
    return true;
}

const struct source *config_source(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->sources; i++) {
        if (strcmp(config->source[i].name, name) == 0)
            return &config->source[i];
    }
    return NULL;
}

static void source_free(struct source *source)
{
    size_t count;
    const struct key *key = keys_all(&count);
    for (; count > 0; count--, key++) {
        if (key->scope != SCOPE_PROGRAM)
            key->type->clear(key, source);
    }
    free(source->name);
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    size_t count;
    const struct key *key = keys_all(&count);
    for (; count > 0; count--, key++) {
        if (key->scope == SCOPE_PROGRAM)
            key->type->clear(key, config);
    }
    for (size_t i = 0; i < config->sources; i++)
        source_free(&config->source[i]);
    free(config->source);
    settings_free(config);
    free(config->path);
    free(config);
}
