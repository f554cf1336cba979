/* The settings: validated, stored as written with their origin; and which of them are effective. */
#include "config/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *setting_spelling(const struct setting *setting, char out[static SPELLING_SIZE])
{
    snprintf(out, SPELLING_SIZE, "%s%s", setting->key->name, setting->file != NULL ? "_file" : "");
    return out;
}

const char *setting_where(const struct config *config, const struct setting *setting, char out[static WHERE_SIZE])
{
    char variable[VARIABLE_SIZE];
    if (setting->line > 0)
        snprintf(out, WHERE_SIZE, "%s:%d", config->path, setting->line);
    else
        snprintf(out, WHERE_SIZE, "environment: %s", key_variable(setting->key, setting->file != NULL, variable));
    return out;
}

/* Prefixes a reason with origin and key: "closecrm.conf:3: lanes" + " " + "must be ...". Returns false. */
static bool place_before(const struct config *config, const struct setting *setting, const char *gap, struct error *why)
{
    char where[WHERE_SIZE], spelling[SPELLING_SIZE];
    setting_where(config, setting, where);
    if (setting->line > 0)
        error_prefix(why, "%s: %s%s", where, setting_spelling(setting, spelling), gap);
    else
        error_prefix(why, "%s%s", where, gap);
    return false;
}

/* As above, for a reason that begins with a verb. */
static bool refuse_setting(const struct config *config, const struct setting *setting, struct error *why)
{
    return place_before(config, setting, " ", why);
}

/* ---- whether it may stand there ---- */

static bool scope_allows(const struct config *config, const struct setting *setting, struct error *why)
{
    bool in_section = setting->section != TOP;
    if (in_section && setting->key->scope == SCOPE_PROGRAM) {
        error_set(why, "is for all sources and cannot stand in [source %s]: move it above the first section",
                  config->source[setting->section].name);
        return refuse_setting(config, setting, why);
    }
    /* For the file, lines.c reports this at the first section. */
    if (!in_section && setting->key->scope == SCOPE_SOURCE && config->sources > 0) {
        error_set(why, "cannot say which source it means, for %s:%d begins [source %s]: write it there", config->path,
                  config->source[0].line, config->source[0].name);
        return refuse_setting(config, setting, why);
    }
    return true;
}

/* What was set before at the same place; a list's values may stand in lines and in a file, too. */
static const struct setting *earlier(const struct config *config, const struct setting *setting)
{
    for (size_t i = 0; i < config->settings; i++) {
        const struct setting *other = &config->setting[i];
        if (other->key == setting->key && other->section == setting->section &&
            (other->line > 0) == (setting->line > 0) &&
            (!setting->key->type->list || (other->file != NULL) == (setting->file != NULL)))
            return other;
    }
    return NULL;
}

/* KEY and KEY_file, one of which would count in silence. */
static void refuse_both(const struct setting *setting, const struct setting *other, struct error *why)
{
    char value[VARIABLE_SIZE], file[VARIABLE_SIZE], line[32] = "";
    const struct key *key = setting->key;
    bool from_environment = setting->line == 0;
    key_variable(key, false, value);
    key_variable(key, true, file);
    if (!from_environment) {
        snprintf(value, sizeof value, "%s", key->name);
        snprintf(file, sizeof file, "%s_file", key->name);
        snprintf(line, sizeof line, " in line %d", other->line);
    }
    error_set(why, "says what %s%s says, and one of them counts: %s %s if the file is right, else %s",
              other->file != NULL ? file : value, line, from_environment ? "unset" : "remove", value, file);
}

/* Refuses duplicates, except for the lines of a list; environment variables are unique anyway. */
static bool stands_once(const struct config *config, const struct setting *setting, struct error *why)
{
    const struct setting *other = earlier(config, setting);
    if (other == NULL || (setting->key->type->list && setting->file == NULL && setting->line > 0))
        return true;
    if ((other->file != NULL) != (setting->file != NULL))
        refuse_both(setting, other, why);
    else if (setting->line > 0)
        error_set(why, "stands twice, here and in line %d, and has one value: remove one", other->line);
    else
        error_set(why, "is set twice: unset one");
    return refuse_setting(config, setting, why);
}

/* ---- what it says ---- */

/* Whether a value looks like it has a comment. Values are never truncated, since ";" may be part of a password. */
static bool has_comment(const char *value)
{
    bool after_blank = true;
    for (; *value != '\0'; value++) {
        if (after_blank && (*value == ';' || *value == '#'))
            return true;
        after_blank = *value == ' ' || *value == '\t';
    }
    return false;
}

static const char *fault_of_text(const struct setting *setting, bool continued)
{
    const struct type *type = setting->key->type;
    bool from_environment = setting->line == 0;
    if (continued && (!type->list || setting->file != NULL))
        return "has one value, and this indented line would be a second one: remove the blanks at its beginning";
    bool needs_value = from_environment || !type->list || setting->file != NULL;
    if (setting->value[0] == '\0' && needs_value)
        return from_environment ? "is empty: give it a value or unset it"
                                : "has no value: give it one or remove the line";
    if (!from_environment && has_comment(setting->value))
        return "has a ; or # after a blank: a comment must stand in a line of its own";
    return NULL;
}

/* Makes a path absolute relative to the configuration file's directory. The caller frees it; NULL with a reason that
 * continues the key's name. */
static char *resolve(const struct config *config, const char *path, struct error *why)
{
    if (path[0] == '~') {
        error_set(why, "must be a path without ~, which only a shell understands");
        return NULL;
    }
    if (path[0] != '/' && config->path == NULL) {
        error_set(why, "must be an absolute path, for there is no configuration file beside which to look");
        return NULL;
    }
    int folder = path[0] == '/' ? 0 : (int)(strrchr(config->path, '/') + 1 - config->path);
    char *resolved = NULL;
    if (asprintf(&resolved, "%.*s%s", folder, folder > 0 ? config->path : "", path) < 0) {
        error_set(why, "could not be read: out of memory");
        return NULL;
    }
    return resolved;
}

bool value_is_good(const struct key *key, const char *value, struct error *why)
{
    union {
        struct config config;
        struct source source;
    } scratch;
    memset(&scratch, 0, sizeof scratch);
    bool good = key->type->parse(key, value, &scratch, why);
    key->type->clear(key, &scratch);
    return good;
}

/* ---- addresses in the wrong place ---- */

/* Whether reasons, and what prints the configuration, never show this key's values: an address may be one, or be in it.
 */
static bool is_never_shown(const struct key *key)
{
    return key->secret || key->type == &type_url || key->type == &type_api_url || key->type == &type_command;
}

/* What to do with an address that stands here. */
static void advise_on_address(const struct key *key, const char *text, bool is_path, struct error *advice)
{
    bool is_file = strncasecmp(text, "file:", 5) == 0, is_http = strncasecmp(text, "http", 4) == 0;
    if (key->type == &type_queue_url || key->type == &type_webhook_url)
        error_set(advice, "it goes into %s, or into the file that is named here", key->name);
    else if (is_path && is_file)
        error_set(advice, "leave out file://");
    else if (is_file || is_http)
        error_set(advice, "a data plane's goes into data_plane_url");
    else
        error_set(advice, "a database's goes into queue_url, with queue = postgresql");
}

/* Refuses an address where there can be none, before anything shows the value, as reasons, `check` and the log do. The
 * one place where that is decided, for all keys. */
static bool is_no_address(const struct key *key, const char *text, bool from_file, struct error *why)
{
    struct error advice;
    char must[CHOICES_SIZE];
    bool is_path = from_file || key->type->path;
    if ((!from_file && is_never_shown(key)) || !value_is_address(text, is_path))
        return true;
    advise_on_address(key, text, is_path, &advice);
    if (key->choices != NULL)
        key_choices(key, must);
    else
        snprintf(must, sizeof must, "a %s", is_path ? "path" : key->type->noun);
    error_set(why, "must be %s, " NO_ADDRESS ": %s", must, advice.text);
    return false;
}

/* ---- adding ---- */

static bool append_setting(struct config *config, const struct setting *setting)
{
    struct setting *all = realloc(config->setting, (config->settings + 1) * sizeof *all);
    if (all == NULL)
        return false;
    config->setting = all;
    all[config->settings++] = *setting;
    return true;
}

/* Sets value, and for a KEY_file also file. */
static bool take_value(const struct config *config, struct setting *setting, const char *text, bool from_file,
                       struct error *why)
{
    if (!is_no_address(setting->key, text, from_file, why))
        return refuse_setting(config, setting, why);
    bool is_path = from_file || setting->key->type->path;
    char *value = is_path ? resolve(config, text, why) : strdup(text);
    if (value == NULL) {
        if (!is_path)
            error_set(why, "could not be read: out of memory");
        return refuse_setting(config, setting, why);
    }
    if (is_path && !path_may_be_shown(text, value) && setting->key->type != &type_folder) {
        error_set(why, "names a file that is not there; its name is not shown, for it may be a secret itself%s",
                  from_file ? ", which goes into that file" : "");
        free(value);
        return refuse_setting(config, setting, why);
    }
    if (from_file) {
        setting->file = value;
        setting->value = file_values(setting, why);
        return setting->value != NULL || place_before(config, setting, ": ", why);
    }
    setting->value = value;
    bool good = value_is_good(setting->key, value, why);
    if (!good) /* what cannot be seen is the likelier reason */
        suspect_characters(text, strlen(text), why);
    return good || refuse_setting(config, setting, why);
}

static void setting_free(struct setting *setting)
{
    if (setting->value != NULL)
        secret_free(setting->value, strlen(setting->value));
    free(setting->file);
}

static bool add(struct config *config, const struct setting *given, bool from_file, bool continued, struct error *why)
{
    char none[] = "";
    struct setting setting = *given;
    bool nowhere = given->section == NOWHERE;
    setting.file = from_file ? none : NULL; /* for the key's spelling in messages */
    if (!nowhere && !scope_allows(config, &setting, why))
        return false;
    const char *fault = fault_of_text(&setting, continued);
    if (fault != NULL) {
        error_set(why, "%s", fault);
        return refuse_setting(config, &setting, why);
    }
    if (!continued && !nowhere && !stands_once(config, &setting, why))
        return false;
    setting.value = NULL;
    if (!take_value(config, &setting, given->value, from_file, why)) {
        if (setting.file == none)
            setting.file = NULL;
        setting_free(&setting);
        return false;
    }
    if (nowhere) {
        setting_free(&setting);
    } else if (!append_setting(config, &setting)) {
        error_set(why, "could not be read: out of memory");
        refuse_setting(config, &setting, why);
        setting_free(&setting);
        return false;
    }
    return true;
}

bool settings_add(struct config *config, const struct setting *given, bool from_file, bool continued, struct error *why)
{
    if (add(config, given, from_file, continued, why))
        return true;
    faults_note_key(config, given->key);
    return false;
}

void settings_free(struct config *config)
{
    for (size_t i = 0; i < config->settings; i++)
        setting_free(&config->setting[i]);
    free(config->setting);
    config->setting = NULL;
    config->settings = 0;
}

/* ---- which counts ---- */

/* In ascending priority: the file's top level, the environment, a source's own section. */
enum origin { FROM_TOP, FROM_ENVIRONMENT, FROM_SECTION, FROM_NOWHERE };

static enum origin origin_of(const struct setting *setting, const struct key *key, size_t source)
{
    if (setting->key != key)
        return FROM_NOWHERE;
    if (setting->section == TOP)
        return setting->line > 0 ? FROM_TOP : FROM_ENVIRONMENT;
    return setting->section == source ? FROM_SECTION : FROM_NOWHERE;
}

const struct setting *settings_effective(const struct config *config, const struct key *key, size_t source,
                                         const struct setting *previous)
{
    enum origin strongest = FROM_TOP;
    for (size_t i = 0; i < config->settings; i++) {
        enum origin origin = origin_of(&config->setting[i], key, source);
        if (origin != FROM_NOWHERE && origin > strongest)
            strongest = origin;
    }
    for (size_t i = previous == NULL ? 0 : (size_t)(previous - config->setting) + 1; i < config->settings; i++) {
        if (origin_of(&config->setting[i], key, source) == strongest)
            return &config->setting[i];
    }
    return NULL;
}

size_t settings_words(const struct config *config, const struct key *key, size_t source)
{
    size_t words = 0, length;
    const struct setting *setting = NULL;
    while ((setting = settings_effective(config, key, source, setting)) != NULL) {
        for (const char *rest = setting->value; value_word(&rest, &length) != NULL;)
            words++;
    }
    return words;
}

bool sources_add(struct config *config, const char *name, int line)
{
    struct source *all = realloc(config->source, (config->sources + 1) * sizeof *all);
    if (all == NULL)
        return false;
    config->source = all;
    all[config->sources] = (struct source){.name = strdup(name), .line = line};
    if (all[config->sources].name == NULL)
        return false;
    config->sources++;
    return true;
}

/* ---- KEY_file: secrets in a file of their own, a value in a line. ---- */

static bool file_line_is_good(const struct key *key, char *text, size_t length, struct error *why)
{
    if (value_control(text, length) != 0) {
        error_set(why, "has a control character at place %zu", value_control(text, length));
        return false;
    }
    const char *rest = text;
    size_t word;
    value_word(&rest, &word);
    if (key->type->list && value_word(&rest, &word) != NULL) {
        error_set(why, "must be alone in its line");
        return false;
    }
    if (value_is_good(key, text, why))
        return true;
    suspect_characters(text, length, why);
    return false;
}

static char *trim(char *text, size_t *length)
{
    while (*length > 0 && strchr(" \t\r", text[*length - 1]) != NULL && text[*length - 1] != '\0')
        text[--*length] = '\0';
    while (*length > 0 && (*text == ' ' || *text == '\t')) {
        text++;
        --*length;
    }
    return text;
}

/* Validates the values in a file, one per line, and compacts them to newline-separated values. */
static bool file_lines(const struct setting *setting, char *text, size_t length, struct error *why)
{
    char *end = text + length, *out = text;
    int line = 0, values = 0;
    for (char *at = text, *next; at < end; at = next) {
        char *newline = memchr(at, '\n', (size_t)(end - at));
        next = newline == NULL ? end : newline + 1;
        size_t used = (size_t)((newline == NULL ? end : newline) - at);
        at[used] = '\0';
        at = trim(at, &used);
        line++;
        if (used == 0)
            continue;
        bool good = file_line_is_good(setting->key, at, used, why);
        if (good && values > 0 && !setting->key->type->list) {
            error_set(why, "has one value: remove this line");
            good = false;
        }
        if (!good) {
            error_prefix(why, "%.300s:%d: %s ", setting->file, line, setting->key->name);
            return false;
        }
        if (values++ > 0)
            *out++ = '\n';
        memmove(out, at, used);
        out += used;
    }
    *out = '\0';
    if (values == 0)
        error_set(why, "%.300s: is empty: write the %s into it", setting->file, setting->key->name);
    return values > 0;
}

char *file_values(const struct setting *setting, struct error *why)
{
    size_t length = 0;
    char *text = file_read(setting->file, &length, why);
    if (text == NULL)
        return NULL;
    char *values = NULL;
    if (file_lines(setting, text, length, why)) {
        values = strdup(text);
        if (values == NULL)
            error_set(why, "%.300s: could not be read: out of memory", setting->file);
    }
    file_free(text, length);
    return values;
}
