/* Checks across keys: missing keys, and keys that contradict each other. */
#include "config/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Applies a key's default. A default path is relative to the configuration file; without a file there is none. */
static bool apply_standard(const struct config *config, const struct key *key, void *base, struct error *why)
{
    if (!key->type->path)
        return key->type->parse(key, key->standard, base, why);
    if (config->path == NULL)
        return true;
    char *path = NULL;
    int folder = (int)(strrchr(config->path, '/') - config->path); /* config->path is absolute */
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
    strings_free(&config->warnings);
    settings_free(config);
    free(config->path);
    free(config);
}

static bool is_file_sink(const struct source *source)
{
    return strncmp(source->data_plane_url, "file:", 5) == 0;
}

/* Notes a key that a source lacks, unless a line of it was refused. For the short form it shows the line to add, in the
 * user's medium: file or environment. */
static void lacks(struct config *config, const struct source *source, const char *name, const char *value,
                  const char *what)
{
    bool from_file;
    const struct key *key = keys_find(name, &from_file);
    char variable[VARIABLE_SIZE];
    struct error why;
    if (faults_has_key(config, key))
        return;
    if (source->line > 0)
        error_set(&why, "%s:%d: [source %s] has no %s, %s: add \"%s = %s\"", config->path, source->line, source->name,
                  name, what, name, value);
    else if (config->path != NULL)
        error_set(&why, "%s: there is no %s, %s: add \"%s = %s\"", config->path, name, what, name, value);
    else
        error_set(&why, "environment: there is no %s, %s: set it, for example to %s",
                  key_variable(key, false, variable), what, value);
    faults_note(config, &why);
}

static void check_source(struct config *config, const struct source *source)
{
    if (source->data_plane_url == NULL)
        lacks(config, source, "data_plane_url", "https://HOST", "which says where events go");
    if (source->write_key.count > 0)
        return;
    if (source->data_plane_url == NULL || !is_file_sink(source))
        lacks(config, source, "write_key", "KEY", "without which RudderStack takes nothing");
    else if (source->signature_keys == 0)
        lacks(config, source, "signature_key", "DIGITS", "nor a write_key, so that nobody could be let in");
}

/* An empty list of secrets is an error: without a signature key, unsigned requests would be accepted. */
static void check_secrets_have_values(struct config *config, size_t source)
{
    size_t count;
    const struct key *key = keys_all(&count);
    for (; count > 0; count--, key++) {
        const struct setting *setting = settings_effective(config, key, source, NULL);
        if (!key->secret || !key->type->list || setting == NULL || settings_words(config, key, source) > 0)
            continue;
        char where[WHERE_SIZE];
        struct error why;
        error_set(&why, "%s: %s has no value: give it one or remove it", setting_where(config, setting, where),
                  key->name);
        faults_note(config, &why);
        faults_note_key(config, key);
    }
}

/* Whether two lists share a value; hexadecimal digits match in either case. */
static bool share_word(const struct setting *a, const struct setting *b)
{
    bool any_case = a->key->type == &type_signature_keys;
    size_t a_length, b_length;
    for (const char *a_rest = a->value, *a_word; (a_word = value_word(&a_rest, &a_length)) != NULL;) {
        for (const char *b_rest = b->value, *b_word; (b_word = value_word(&b_rest, &b_length)) != NULL;) {
            if (a_length == b_length &&
                !(any_case && a_length == 4) && /* `none`, which any number of sources may have */
                (any_case ? strncasecmp(a_word, b_word, a_length) == 0 : memcmp(a_word, b_word, a_length) == 0))
                return true;
        }
    }
    return false;
}

static void check_differs(struct config *config, const struct setting *later, const struct setting *first)
{
    char where[WHERE_SIZE];
    struct error why;
    if (!later->key->secret || later->key != first->key || later->section == first->section ||
        !later->key->type->list || !share_word(later, first))
        return;
    error_set(&why,
              "%s: [source %s] has a %s that [source %s] has in line %d: the two could not be told apart; give each "
              "its own",
              setting_where(config, later, where), config->source[later->section].name, later->key->name,
              config->source[first->section].name, first->line);
    faults_note(config, &why);
}

static void check_sources_differ(struct config *config)
{
    for (size_t i = 0; i < config->settings; i++) {
        for (size_t j = 0; j < i; j++)
            check_differs(config, &config->setting[i], &config->setting[j]);
    }
}

/* Notes that two keys contradict each other, at the place of the first that is set. Nothing is said where one of them
 * was refused. */
static void check_pair(struct config *config, const char *one, const char *other, const char *words)
{
    bool from_file;
    const struct key *first = keys_find(one, &from_file), *second = keys_find(other, &from_file);
    const struct setting *setting = settings_effective(config, first, TOP, NULL);
    char where[WHERE_SIZE];
    struct error why;
    if (faults_has_key(config, first) || faults_has_key(config, second))
        return;
    if (setting == NULL)
        setting = settings_effective(config, second, TOP, NULL);
    error_set(&why, "%s: %s is less than %s: %s", setting_where(config, setting, where), one, other, words);
    faults_note(config, &why);
}

static void check_has_state_dir(struct config *config)
{
    bool from_file;
    struct error why;
    if (config->queue != QUEUE_SQLITE || config->state_dir != NULL ||
        faults_has_key(config, keys_find("state_dir", &from_file)) ||
        faults_has_key(config, keys_find("queue", &from_file)))
        return;
    error_set(&why,
              "environment: there is no CLOSECRM_STATE_DIR, where events wait: set it to a folder that is private to "
              "the user as which this runs, or CLOSECRM_QUEUE to none");
    faults_note(config, &why);
}

void validate_config(struct config *config)
{
    for (size_t i = 0; i < config->sources; i++) {
        check_secrets_have_values(config, i);
        if (!config->faults->section || config->source[i].line > 0)
            check_source(config, &config->source[i]);
    }
    check_sources_differ(config);
    if (config->queue_max_bytes < config->max_body)
        check_pair(config, "queue_max_bytes", "max_body", "the largest events would never be taken");
    check_has_state_dir(config);
    /* An event still to be delivered must be recognized when it arrives again. */
    if (config->queue == QUEUE_SQLITE && config->dedupe_window_ms < config->queue_retention_ms)
        check_pair(config, "dedupe_window", "queue_retention", "events could be sent twice; make it as long");
}
