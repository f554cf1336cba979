/* Prints the configuration: `check`'s output, and docs/configuration.md's table of keys. */
#include "base/text.h"
#include "config/internal.h"
#include "config/source_keys.h"

#include <stdio.h>
#include <string.h>

#define TAIL 4         /* characters of a secret shown to tell it from another */
#define LONG_ENOUGH 16 /* minimum length for showing them */

/* Prints "2 values, ending in 1a2b, 3c4d"; for short secrets only the number. */
static void print_secret(const struct config *config, const struct key *key, size_t source, FILE *out)
{
    if (key->type == &type_password) { /* not even the number of values */
        fputs("set", out);
        return;
    }
    if (key->type == &type_webhook_url) {
        char host[URL_HOST];
        fprintf(out, "at %s", config_url_host(settings_effective(config, key, source, NULL)->value, host));
        return;
    }
    size_t words = settings_words(config, key, source);
    fprintf(out, "%zu value%s", words, text_plural(words));
    size_t length, shown = 0;
    const struct setting *setting = NULL;
    while ((setting = settings_effective(config, key, source, setting)) != NULL) {
        for (const char *rest = setting->value, *word; (word = value_word(&rest, &length)) != NULL;) {
            if (length >= LONG_ENOUGH)
                fprintf(out, "%s%.*s", shown++ == 0 ? ", ending in " : ", ", TAIL, word + length - TAIL);
        }
    }
}

static void print_list(const struct config *config, const struct key *key, size_t source, FILE *out)
{
    size_t length, shown = 0;
    const struct setting *setting = NULL;
    while ((setting = settings_effective(config, key, source, setting)) != NULL) {
        for (const char *rest = setting->value, *word; (word = value_word(&rest, &length)) != NULL;)
            fprintf(out, "%s%.*s", shown++ == 0 ? "" : ", ", (int)length, word);
    }
    if (shown == 0)
        fputs("none", out);
}

static void print_value(const struct config *config, const struct key *key, size_t source, FILE *out)
{
    const struct setting *setting = settings_effective(config, key, source, NULL);
    bool can_be_none = key->type == &type_signature_keys; /* as a value for copying */
    const char *etc = "/var/lib/closecrm";                /* the default of /etc/closecrm.conf */
    if (setting == NULL && key->type == &type_folder && config->state_dir != NULL &&
        strcmp(config->state_dir, etc) == 0)
        fputs(etc, out);
    else if (setting == NULL)
        fputs(key->standard[0] != '\0' ? key->standard : can_be_none ? "not set" : "none", out);
    else if (can_be_none && strcmp(setting->value, "none") == 0)
        fputs("none", out);
    else if (key->secret)
        print_secret(config, key, source, out);
    else if (key->type->list)
        print_list(config, key, source, out);
    else
        fputs(setting->value, out);
}

static void print_place(const struct config *config, const struct setting *setting, FILE *out)
{
    char variable[VARIABLE_SIZE];
    if (setting->line > 0)
        fprintf(out, "%s:%d", config->path, setting->line);
    else
        fprintf(out, "environment %s", key_variable(setting->key, setting->file != NULL, variable));
    if (setting->file != NULL)
        fprintf(out, " from %s", setting->file);
}

/* The signature keys that `subscribe` obtained stand in no file of the configuration. Prints them, after what stands in
 * front (separator), and returns whether there are any. */
static bool print_held_keys(const struct config *config, size_t source, const char *separator, FILE *out)
{
    char words[SOURCE_KEYS_WORDS] = "";
    struct source_keys keys;
    struct source unconfigured = config->source[source];
    unconfigured.signature_keys = 0;
    bool is_listed = source_keys_read(&keys, config, &unconfigured);
    bool any = is_listed && (keys.count > 0 || keys.unread.text[0] != '\0');
    if (any)
        fprintf(out, "%s%s%s\n", separator, keys.unread.text, source_keys_words(&keys, config, words));
    if (is_listed)
        source_keys_free(&keys);
    return any;
}

static void print_key(const struct config *config, const struct key *key, size_t source, FILE *out)
{
    fprintf(out, "%s = ", key->name);
    bool is_signature = key->type == &type_signature_keys && source != TOP;
    if (is_signature && settings_effective(config, key, source, NULL) == NULL &&
        print_held_keys(config, source, "", out))
        return;
    print_value(config, key, source, out);
    fputs("  (", out);
    const struct setting *setting = settings_effective(config, key, source, NULL);
    if (setting == NULL)
        fputs("default", out);
    for (bool first = true; setting != NULL; setting = settings_effective(config, key, source, setting)) {
        if (!first)
            fputs(", ", out);
        first = false;
        print_place(config, setting, out);
    }
    if (!is_signature || !print_held_keys(config, source, "), ", out))
        fputs(")\n", out);
}

void config_print(const struct config *config, FILE *out)
{
    size_t count;
    const struct key *keys = keys_all(&count);
    for (size_t i = 0; i < count; i++) {
        if (keys[i].scope == SCOPE_PROGRAM)
            print_key(config, &keys[i], TOP, out);
    }
    for (size_t source = 0; source < config->sources; source++) {
        if (config->source[source].line > 0)
            fprintf(out, "[source %s]\n", config->source[source].name);
        for (size_t i = 0; i < count; i++) {
            if (keys[i].scope != SCOPE_PROGRAM)
                print_key(config, &keys[i], source, out);
        }
    }
}

/* ---- docs/configuration.md's table ---- */

static void print_kind(const struct key *key, FILE *out)
{
    fputs(key->type->noun, out);
    for (size_t i = 0; key->choices != NULL && key->choices[i] != NULL; i++)
        fprintf(out, "%s `%s`", i == 0 ? "" : ",", key->choices[i]);
    if (key->type->format == NULL)
        return;
    char least[32], most[32];
    key->type->format(key->least, least, sizeof least);
    key->type->format(key->most, most, sizeof most);
    fprintf(out, ", %s to %s", least, most);
}

void config_print_keys(FILE *out)
{
    static const char *const places[] = {
        [SCOPE_PROGRAM] = "top level",
        [SCOPE_SOURCE] = "source",
        [SCOPE_DEFAULT] = "source; top level: for all",
    };
    fputs("| key | stands at | value | default | meaning |\n| --- | --- | --- | --- | --- |\n", out);
    size_t count;
    const struct key *key = keys_all(&count);
    for (; count > 0; count--, key++) {
        fprintf(out, "| `%s`", key->name);
        if (key->secret)
            fprintf(out, ", `%s_file`", key->name);
        fprintf(out, " | %s | ", places[key->scope]);
        print_kind(key, out);
        const char *tick = key->standard[0] != '\0' ? "`" : "";
        fprintf(out, " | %s%s%s | %s |\n", tick, key->standard, tick, key->help);
    }
}
