/* Reading a configuration: the file, the environment, then the checks across keys; and what is wrong with it. */
#include "config/internal.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* ---- what is wrong, and what only looks wrong: noted while it is read ---- */

bool strings_append(struct strings *strings, const char *word, size_t length)
{
    char **at = realloc(strings->at, (strings->count + 1) * sizeof *at);
    if (at == NULL)
        return false;
    strings->at = at;
    at[strings->count] = strndup(word, length);
    if (at[strings->count] == NULL)
        return false;
    strings->count++;
    return true;
}

void strings_free(struct strings *strings)
{
    for (size_t i = 0; i < strings->count; i++)
        secret_free(strings->at[i], strlen(strings->at[i]));
    free(strings->at);
    *strings = (struct strings){0};
}

bool faults_note(struct config *config, const struct error *why)
{
    if (!strings_append(&config->faults->all, why->text, strlen(why->text)))
        config->faults->out_of_memory = true;
    return false;
}

static uint64_t bit_of(const struct key *key)
{
    size_t count;
    const struct key *first = keys_all(&count);
    return key == NULL ? 0 : UINT64_C(1) << (key - first);
}

void faults_note_key(struct config *config, const struct key *key)
{
    config->faults->keys |= bit_of(key);
}

bool faults_has_key(const struct config *config, const struct key *key)
{
    return (config->faults->keys & bit_of(key)) != 0;
}

void warnings_add(struct config *config, const char *format, ...)
{
    struct error text;
    va_list args;
    va_start(args, format);
    vsnprintf(text.text, sizeof text.text, format, args);
    va_end(args);
    if (!strings_append(&config->warnings, text.text, strlen(text.text)))
        return;
}

/* ---- checks across keys: missing keys, and keys that contradict each other ---- */

/* Applies a key's default. A default path is relative to the configuration file; without a file there is none. */
static bool apply_standard(const struct config *config, const struct key *key, void *base, struct error *why)
{
    if (!key->type->path)
        return key->type->parse(key, key->standard, base, why);
    if (config->path == NULL)
        return true;
    char *path = places_standard(config->path, key->standard, "/etc", "/var/lib/closecrm");
    if (path == NULL) {
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

/* What sources share is where the top level says. */
static void set_queue_url(struct config *config)
{
    bool from_file;
    const struct setting *setting = settings_effective(config, keys_find("queue_url", &from_file), TOP, NULL);
    config->queue_url = setting != NULL ? setting->value : config->sources > 0 ? config->source[0].queue_url : NULL;
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
    set_queue_url(config);
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

const char *config_source_path(const struct source *source, char out[static SOURCE_PATH])
{
    snprintf(out, SOURCE_PATH, "%s%s", source->line > 0 ? "/" : "", source->line > 0 ? source->name : "");
    return out;
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
    if (config->queue == QUEUE_POSTGRESQL && source->queue_url == NULL)
        lacks(config, source, "queue_url", "postgresql://USER:PASSWORD@HOST/DATABASE", "where events wait");
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
    if (later->section == TOP || first->section == TOP) /* above the sections, which is a fault of its own */
        return;
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
    if (!config_keeps_events(config) || config->state_dir != NULL ||
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
    if (config_keeps_events(config) && config->dedupe_window_ms < config->queue_retention_ms)
        check_pair(config, "dedupe_window", "queue_retention", "events could be sent twice; make it as long");
}

/* ---- reading ---- */

char *path_absolute(const char *path)
{
    if (path[0] == '/')
        return strdup(path);
    char *folder = getcwd(NULL, 0);
    char *whole = NULL;
    if (folder != NULL && asprintf(&whole, "%s/%s", folder, path) < 0)
        whole = NULL;
    free(folder);
    return whole;
}

static bool read_all(struct config *config, const char *path, char *const environment[], struct error *why)
{
    if (path != NULL) {
        config->path = path_absolute(path);
        if (config->path == NULL) {
            error_set(why, "%.300s: could not be read: out of memory", path);
            return false;
        }
        if (!lines_read(config, why))
            return false;
    }
    environment_read(config, environment);
    if (config->sources == 0 && !sources_add(config, "default", 0)) {
        error_set(why, "the configuration could not be read: out of memory");
        return false;
    }
    if (!apply_settings(config, why))
        return false;
    validate_config(config);
    suspects_look(config);
    if (config->faults->out_of_memory)
        error_set(why, "the configuration could not be read: out of memory");
    else if (config->faults->all.count > 0)
        error_set(why, "%s", config->faults->all.at[0]);
    return !config->faults->out_of_memory && config->faults->all.count == 0;
}

struct config *config_read_all(const char *path, char *const environment[], struct strings *faults, struct error *why)
{
    struct faults noted = {.keys = 0};
    struct config *config = calloc(1, sizeof *config);
    *faults = (struct strings){0};
    if (config == NULL) {
        error_set(why, "the configuration could not be read: out of memory");
        return NULL;
    }
    config->faults = &noted;
    bool good = read_all(config, path, environment, why);
    config->faults = NULL;
    *faults = noted.all;
    if (good)
        return config;
    config_free(config);
    return NULL;
}

struct config *config_read(const char *path, char *const environment[], struct error *why)
{
    struct strings faults;
    struct config *config = config_read_all(path, environment, &faults, why);
    strings_free(&faults);
    return config;
}

/* ---- The process's environment: CLOSECRM_<KEY> sets a key as a line at top level would, and wins over it. ---- */

#define PREFIX "CLOSECRM_"

/* CLOSECRM_ variables that are no keys: CLOSECRM_CONFIG, those of a reload, and those of the bundle's launcher. */
static bool is_no_key(const char *name, size_t length)
{
    static const char *const others[] = {"CONFIG", "KEPT_CONNECTIONS", "LAUNCHER"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (strlen(others[i]) == length && memcmp(others[i], name, length) == 0)
            return true;
    }
    return false;
}

/* Splits a CLOSECRM_ variable. Returns its name without the prefix, *length and *value; NULL for other variables. */
static const char *name_of(const char *variable, size_t *length, const char **value)
{
    if (strncmp(variable, PREFIX, strlen(PREFIX)) != 0)
        return NULL;
    const char *name = variable + strlen(PREFIX);
    const char *equals = strchr(name, '=');
    if (equals == NULL)
        return NULL;
    *length = (size_t)(equals - name);
    *value = equals + 1;
    return is_no_key(name, *length) ? NULL : name;
}

bool environment_has_keys(char *const environment[])
{
    size_t length;
    const char *value;
    for (size_t i = 0; environment[i] != NULL; i++) {
        if (name_of(environment[i], &length, &value) != NULL)
            return true;
    }
    return false;
}

static bool unknown_variable(struct config *config, const char *name, size_t length, const char *key_name,
                             struct error *why)
{
    char nearest[SPELLING_SIZE];
    char variable[VARIABLE_SIZE];
    bool from_file = false;
    const struct key *key = NULL;
    if (keys_nearest(key_name, nearest, sizeof nearest))
        key = keys_find(nearest, &from_file);
    faults_note_key(config, key);
    int shown = (int)(length < 60 ? length : 60);
    if (key != NULL)
        error_set(why, "environment: " PREFIX "%.*s is no key; did you mean %s?", shown, name,
                  key_variable(key, from_file, variable));
    else
        error_set(why, "environment: " PREFIX "%.*s is no key: unset it", shown, name);
    return false;
}

/* Whether a value has a control character. List values may be on several lines, so newlines are allowed in them. */
static bool has_control(const struct key *key, const char *value)
{
    for (; *value != '\0'; value++) {
        bool separates = key->type->list && (*value == '\n' || *value == '\r');
        if (!separates && value_control(value, 1) != 0)
            return true;
    }
    return false;
}

static bool take_variable(struct config *config, const char *name, size_t length, const char *value, struct error *why)
{
    char key_name[SPELLING_SIZE] = "";
    bool from_file = false, upper = true;
    for (size_t i = 0; i < length && i < sizeof key_name - 1; i++) {
        upper = upper && !islower((unsigned char)name[i]);
        key_name[i] = (char)tolower((unsigned char)name[i]);
        key_name[i + 1] = '\0';
    }
    const struct key *key = upper && length < sizeof key_name ? keys_find(key_name, &from_file) : NULL;
    if (key == NULL)
        return unknown_variable(config, name, length, key_name, why);
    if (has_control(key, value)) {
        char variable[VARIABLE_SIZE];
        faults_note_key(config, key);
        error_set(why, "environment: %s has a control character in it, a newline perhaps: remove it",
                  key_variable(key, from_file, variable));
        return false;
    }
    char *text = strdup(value);
    if (text == NULL) {
        error_set(why, "environment: could not be read: out of memory");
        return false;
    }
    struct setting setting = {key, TOP, text, NULL, 0, false};
    bool good = settings_add(config, &setting, from_file, false, why);
    secret_free(text, strlen(text));
    return good;
}

void environment_read(struct config *config, char *const environment[])
{
    for (size_t i = 0; environment[i] != NULL; i++) {
        size_t length;
        const char *value;
        struct error why = {0};
        const char *name = name_of(environment[i], &length, &value);
        if (name != NULL && !take_variable(config, name, length, value, &why))
            faults_note(config, &why);
    }
}
