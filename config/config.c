/* Reading a configuration: the file, the environment, then the checks across keys. */
#include "config/internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Makes a path absolute without resolving links, so that users recognize it in messages. NULL when out of memory. */
static char *absolute(const char *path)
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
        config->path = absolute(path);
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
