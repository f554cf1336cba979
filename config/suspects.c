/* Values that were typed or copied wrongly: with characters that cannot be seen, in quotes, broken over two lines, or
 * left as documentation and samples have them. What was taken by the release before is taken, and told. */
#include "config/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

#define LATER "; it is taken for now, and the next release refuses it"

/* ---- characters ---- */

/* Ranges of code points that look like a blank, or like nothing. */
static const struct {
    uint32_t first, last;
    const char *name;
} unseen[] = {
    {0xA0, 0xA0, "no-break space"},
    {0xAD, 0xAD, "soft hyphen"},
    {0x2007, 0x2007, "no-break space"},
    {0x200B, 0x200D, "zero-width character"},
    {0x200E, 0x200F, "mark of the direction of writing"},
    {0x202A, 0x202E, "mark of the direction of writing"},
    {0x202F, 0x202F, "no-break space"},
    {0x2060, 0x2064, "zero-width character"},
    {0x2066, 0x2069, "mark of the direction of writing"},
    {0x3000, 0x3000, "wide space"},
    {0xFEFF, 0xFEFF, "byte order mark"},
};

static const char *unseen_name(uint32_t code)
{
    for (size_t i = 0; i < sizeof unseen / sizeof *unseen; i++) {
        if (code >= unseen[i].first && code <= unseen[i].last)
            return unseen[i].name;
    }
    return NULL;
}

static bool has_unseen(const char *text, size_t length, struct error *why)
{
    size_t place = 0, bytes;
    for (size_t at = 0; at < length; at += bytes) {
        bytes = text_utf8_length(text + at, length - at);
        place++;
        if (bytes == 0)
            return false; /* no UTF-8 */
        uint32_t code = text_utf8_read(text + at, bytes);
        const char *name = unseen_name(code);
        if (name == NULL)
            continue;
        error_set(why, "has a %s (U+%04X) at character %zu, which cannot be seen: type it anew", name, (unsigned)code,
                  place);
        return true;
    }
    return false;
}

/* Whether the text stands between quotes, straight ones or those of a word processor. */
static bool is_quoted(const char *text, size_t length)
{
    static const struct {
        const char *open, *close;
    } quotes[] = {
        {"\"", "\""},
        {"'", "'"},
        {"`", "`"},
        {"\xe2\x80\x9c", "\xe2\x80\x9d"}, /* U+201C, U+201D */
        {"\xe2\x80\x9e", "\xe2\x80\x9c"}, /* U+201E, U+201C */
        {"\xe2\x80\x98", "\xe2\x80\x99"}, /* U+2018, U+2019 */
        {"\xc2\xab", "\xc2\xbb"},         /* U+00AB, U+00BB */
    };
    for (size_t i = 0; i < sizeof quotes / sizeof *quotes; i++) {
        size_t open = strlen(quotes[i].open), close = strlen(quotes[i].close);
        if (length >= open + close && memcmp(text, quotes[i].open, open) == 0 &&
            memcmp(text + length - close, quotes[i].close, close) == 0)
            return true;
    }
    return false;
}

bool suspect_characters(const char *text, size_t length, struct error *why)
{
    if (has_unseen(text, length, why))
        return true;
    if (!is_quoted(text, length))
        return false;
    error_set(why, "stands in quotes, which would be part of it: remove them");
    return true;
}

/* ---- placeholders ---- */

/* Whether a word is one that documentation and samples have in the place of a value: THE-WRITE-KEY. */
static bool suspect_placeholder(const char *word, size_t length)
{
    static const char *const whole[] = {"KEY", "HOST", "DIGITS", "PASSWORD", "CHANGEME"};
    static const char *const beginnings[] = {"THE", "YOUR", "ANOTHER", "OTHER", "SOMETHING", "KEY", "DATA", "CHANGE"};
    size_t first = strcspn(word, "-_");
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        if (length == strlen(whole[i]) && memcmp(word, whole[i], length) == 0)
            return true;
    }
    if (strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_") < length)
        return false;
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
        if (first < length && first == strlen(beginnings[i]) && memcmp(word, beginnings[i], first) == 0)
            return true;
    }
    return false;
}

/* The first label of the host is enough: YOUR-DATA-PLANE.example.com. */
static bool has_placeholder_host(const char *url)
{
    const char *host = strstr(url, "://");
    return host != NULL && suspect_placeholder(host + 3, strcspn(host + 3, ".:/"));
}

static const char *place_of(const struct config *config, const struct setting *setting, char out[static WHERE_SIZE])
{
    char where[WHERE_SIZE], spelling[SPELLING_SIZE];
    setting_where(config, setting, where);
    if (setting->line > 0)
        snprintf(out, WHERE_SIZE, "%.330s: %s", where, setting_spelling(setting, spelling));
    else
        snprintf(out, WHERE_SIZE, "%s", where);
    return out;
}

static void note_placeholder(struct config *config, const struct setting *setting)
{
    char place[WHERE_SIZE];
    struct error why;
    error_set(&why, "%s is still the placeholder of the documentation: put your own value there",
              place_of(config, setting, place));
    faults_note(config, &why);
}

static void warn_of_placeholder(struct config *config, const struct setting *setting)
{
    char place[WHERE_SIZE];
    warnings_add(config, "%s is still the placeholder of the documentation: put your own value there" LATER,
                 place_of(config, setting, place));
}

/* Of a source's write keys the first is sent. */
static bool is_sent(const struct config *config, const struct setting *setting)
{
    const struct source *source = &config->source[setting->section == TOP ? 0 : setting->section];
    return source->data_plane_url != NULL && strncmp(source->data_plane_url, "file:", 5) != 0 &&
           setting == settings_effective(config, setting->key, setting->section, NULL);
}

static void look_for_placeholder(struct config *config, const struct setting *setting)
{
    const struct type *type = setting->key->type;
    if (type == &type_url && has_placeholder_host(setting->value))
        note_placeholder(config, setting);
    if ((type == &type_secret || type == &type_password) && suspect_placeholder(setting->value, strlen(setting->value)))
        warn_of_placeholder(config, setting);
    if (type != &type_write_keys)
        return;
    size_t length, words = 0;
    for (const char *rest = setting->value, *word; (word = value_word(&rest, &length)) != NULL; words++) {
        if (!suspect_placeholder(word, length))
            continue;
        if (words == 0 && is_sent(config, setting))
            note_placeholder(config, setting);
        else
            warn_of_placeholder(config, setting);
        return;
    }
}

/* ---- all settings ---- */

/* The value as it was written: relative paths were given the file's folder. */
static const char *as_written(const struct config *config, const struct setting *setting)
{
    const char *end = setting->key->type->path && config->path != NULL ? strrchr(config->path, '/') : NULL;
    size_t folder = end == NULL ? 0 : (size_t)(end + 1 - config->path);
    return strncmp(setting->value, config->path == NULL ? "" : config->path, folder) == 0 ? setting->value + folder
                                                                                          : setting->value;
}

/* What only a shell would understand, and there is none. */
static bool wants_shell(const char *text, struct error *why)
{
    const char *found = strpbrk(text, "\"'`|$;&<>*");
    if (found == NULL)
        return false;
    error_set(why,
              "has a %c, and there is no shell that would understand it: put the command into a script, and name that",
              *found);
    return true;
}

static void look_at(struct config *config, const struct setting *setting)
{
    char place[WHERE_SIZE];
    struct error why;
    const struct type *type = setting->key->type;
    const char *text = as_written(config, setting);
    bool any_text = type == &type_password || type->path;
    if ((any_text && suspect_characters(text, strlen(text), &why)) ||
        (type == &type_command && has_unseen(text, strlen(text), &why)))
        warnings_add(config, "%s %s" LATER, place_of(config, setting, place), why.text);
    if (setting->joined && type == &type_write_keys)
        warnings_add(
            config,
            "%s goes on in an indented line with no comma between: a key that a line break has cut in two must "
            "be put together, and two keys need the comma; they are taken as two keys for now, and the next "
            "release refuses it",
            place_of(config, setting, place));
    if (type == &type_command && wants_shell(text, &why))
        warnings_add(config, "%s %s" LATER, place_of(config, setting, place), why.text);
    look_for_placeholder(config, setting);
}

void suspects_look(struct config *config)
{
    for (size_t i = 0; i < config->settings; i++)
        look_at(config, &config->setting[i]);
}

/* ---- what a reason may repeat ---- */

/* "9G", "16MB", "500ms", "1.5 h": with its unit. */
static bool is_like_number(const char *text)
{
    size_t letters = 0, length = strlen(text);
    for (const char *c = text; *c != '\0'; c++)
        letters += strchr("0123456789.,+- ", *c) == NULL;
    return length <= 24 && letters <= 3 && text[0] >= '0' && text[0] <= '9';
}

/* In small letters, as all of them are: so a password that resembles `password` is not. */
static bool is_like_one_of(const char *text, const char *const *words)
{
    if (strspn(text, "abcdefghijklmnopqrstuvwxyz_-") < strlen(text))
        return false;
    for (; *words != NULL; words++) {
        if (text_distance(text, *words) <= strlen(*words) / 4 + 1)
            return true;
    }
    return false;
}

/* Names of events and their members have small letters, and a dot or a *. */
static bool is_like_name(const char *text)
{
    return strspn(text, "abcdefghijklmnopqrstuvwxyz_0123456789.*-") == strlen(text) && strpbrk(text, ".*") != NULL &&
           strcspn(text, "0123456789") == strlen(text);
}

bool value_may_be_shown(const struct key *key, const char *text, size_t length)
{
    static const char *const objects[] = {"lead", "contact", "opportunity", "task", "activity", "user", NULL};
    char value[TEXT_DISTANCE_MOST + 1];
    if (length >= sizeof value || key->secret)
        return false;
    memcpy(value, text, length);
    value[length] = '\0';
    if (key->type == &type_choice)
        return is_like_one_of(value, key->choices);
    if (key->type == &type_included)
        return is_like_one_of(value, included_names);
    if (key->type->format != NULL)
        return is_like_number(value);
    bool is_pattern = key->type == &type_patterns;
    return (is_pattern || key->type == &type_members || key->type == &type_traits) &&
           (is_like_name(value) || (is_pattern && is_like_one_of(value, objects)));
}

bool path_may_be_shown(const char *text, const char *path)
{
    struct stat status;
    const char *name = strrchr(path, '/');
    char folder[4096];
    if (lstat(path, &status) == 0)
        return true;
    if (strchr(text, '/') == NULL || name == NULL || errno == ENAMETOOLONG)
        return false;
    snprintf(folder, sizeof folder, "%.*s", name == path ? 1 : (int)(name - path), path);
    return errno == EACCES || (stat(folder, &status) == 0 && S_ISDIR(status.st_mode));
}
