/* The types of values: parsing into fields, and freeing. */
#include "config/internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "base/times.h"

const char *const included_names[] = {"previous_data", "changed_fields", NULL};

#define NO_MEMORY "could not be read: out of memory"

/* Enums are written through an unsigned, which must have their size. */
_Static_assert(sizeof(enum log_level) == sizeof(unsigned) && sizeof(enum queue_kind) == sizeof(unsigned) &&
                   sizeof(enum admin_access) == sizeof(unsigned) && sizeof(enum answer_no_yes) == sizeof(unsigned) &&
                   sizeof(enum nul_handling) == sizeof(unsigned) &&
                   sizeof(enum warehouse_columns) == sizeof(unsigned) &&
                   sizeof(enum context_content) == sizeof(unsigned),
               "choices are stored as unsigned");

void *key_field(const struct key *key, void *base)
{
    return (char *)base + key->offset;
}

static void clear_nothing(const struct key *key, void *base)
{
    (void)key;
    (void)base;
}

/* ---- numbers ---- */

/* Says what a value must be, and what it is unless it may be a secret. Returns false. */
static bool refuse_value(const struct key *key, const char *text, size_t length, const char *must, struct error *why)
{
    if (value_may_be_shown(key, text, length))
        error_set(why, "%s, not \"%.*s\"", must, (int)(length < 60 ? length : 60), text);
    else
        error_set(why, "%s", must);
    return false;
}

static bool number_parse(const struct key *key, const char *text, void *base, struct error *why,
                         enum text_reading (*read)(const char *, int64_t *), const char *looks)
{
    char must[80];
    int64_t value = 0;
    enum text_reading result = read(text, &value);
    if (result == TEXT_UNREADABLE) {
        snprintf(must, sizeof must, "must be %s", looks);
        return refuse_value(key, text, strlen(text), must, why);
    }
    if (result == TEXT_TOO_LARGE || value < key->least || value > key->most) {
        char least[32], most[32];
        key->type->format(key->least, least, sizeof least);
        key->type->format(key->most, most, sizeof most);
        error_set(why, "must be from %s to %s, not %.40s", least, most, text);
        return false;
    }
    memcpy(key_field(key, base), &value, sizeof value);
    return true;
}

static bool count_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    return number_parse(key, text, base, why, text_read_count, "a whole number");
}

static bool size_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    return number_parse(key, text, base, why, text_read_size, "a size such as 4000K, 16M or 8G");
}

static bool duration_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    return number_parse(key, text, base, why, times_read_duration, "a duration such as 90s, 15m, 73h or 31d");
}

/* ---- one text ---- */

const char *key_choices(const struct key *key, char out[static CHOICES_SIZE])
{
    int used = 0;
    for (size_t i = 0; key->choices[i] != NULL && used < CHOICES_SIZE; i++)
        used += snprintf(out + used, CHOICES_SIZE - (size_t)used, "%s%s", i == 0 ? "one of " : ", ", key->choices[i]);
    return out;
}

static bool choice_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    char all[CHOICES_SIZE], must[CHOICES_SIZE + 8];
    for (unsigned i = 0; key->choices[i] != NULL; i++) {
        if (strcmp(text, key->choices[i]) == 0) {
            memcpy(key_field(key, base), &i, sizeof i);
            return true;
        }
    }
    snprintf(must, sizeof must, "must be %s", key_choices(key, all));
    return refuse_value(key, text, strlen(text), must, why);
}

static bool text_store(const struct key *key, void *base, char *text)
{
    memcpy(key_field(key, base), &text, sizeof text);
    return text != NULL;
}

static void text_clear(const struct key *key, void *base)
{
    char **text = key_field(key, base);
    free(*text);
    *text = NULL;
}

/* Whether the text, in PEM (RFC 7468), has a certificate, and none that is cut. */
static bool has_certificates(FILE *file)
{
    char *line = NULL;
    size_t room = 0;
    bool any = false, within = false;
    while (getline(&line, &room, file) > 0) {
        bool is_certificate = strstr(line, "CERTIFICATE-----") != NULL;
        bool ends = within && is_certificate && strncmp(line, "-----END ", 9) == 0;
        any |= ends;
        within = (within && !ends) || (is_certificate && strncmp(line, "-----BEGIN ", 11) == 0);
    }
    free(line);
    return any && !within;
}

/* libcurl looks into the file when it connects: nothing would be delivered. Without O_NONBLOCK, opening a FIFO would
 * block the start. */
static bool certificates_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    int descriptor = open(text, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "r");
    if (file == NULL) {
        error_set(why, "names %.300s, which cannot be read: %s", text, strerror(errno));
        if (descriptor >= 0)
            close(descriptor);
        return false;
    }
    bool has = has_certificates(file);
    fclose(file);
    if (!has) {
        error_set(
            why,
            "names %.300s, which has no certificate, or one that is cut: each is from -----BEGIN CERTIFICATE----- "
            "to -----END CERTIFICATE-----",
            text);
        return false;
    }
    char *path = strdup(text);
    if (path == NULL)
        error_set(why, NO_MEMORY);
    return text_store(key, base, path);
}

/* The queue creates and checks the directory when it opens. */
static bool folder_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    char *path = strdup(text);
    if (path == NULL)
        error_set(why, NO_MEMORY);
    return text_store(key, base, path);
}

static bool url_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    return text_store(key, base, url_data_plane(text, why));
}

static bool api_url_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    return text_store(key, base, url_close_api(text, why));
}

/* A single key, sent as a user name of HTTP Basic. A later one replaces an earlier one. */
static bool secret_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (!isascii((unsigned char)*c) || !isgraph((unsigned char)*c) || strchr(":;#\"'<>,", *c) != NULL) {
            error_set(why, "must be the one bare key as Close shows it: no quotes, no comment, none of : ; # < > ,");
            return false;
        }
    }
    if (*text == '\0') {
        error_set(why, "has no value: give it one or remove it");
        return false;
    }
    char *copy = strdup(text);
    if (copy == NULL)
        error_set(why, NO_MEMORY);
    key->type->clear(key, base);
    return text_store(key, base, copy);
}

void secret_clear(const struct key *key, void *base)
{
    char **text = key_field(key, base);
    if (*text != NULL)
        secret_free(*text, strlen(*text));
    *text = NULL;
}

/* ---- lists ---- */

static void words_clear(const struct key *key, void *base)
{
    strings_free(key_field(key, base));
}

typedef bool word_check(const struct key *key, const char *word, size_t length, struct error *why);

static bool words_parse(const struct key *key, const char *text, void *base, struct error *why, word_check *check)
{
    size_t length;
    for (const char *word; (word = value_word(&text, &length)) != NULL;) {
        if (!check(key, word, length, why))
            return false;
        if (!strings_append(key_field(key, base), word, length)) {
            error_set(why, NO_MEMORY);
            return false;
        }
    }
    return true;
}

/* Whether a dotted name consists of characters that Close uses in names, without empty parts. */
static bool is_dotted(const char *word, size_t length, const char *also)
{
    for (size_t i = 0; i < length; i++) {
        bool dot = word[i] == '.';
        if (dot && (i == 0 || i == length - 1 || word[i - 1] == '.'))
            return false;
        if (!dot && !isalnum((unsigned char)word[i]) && strchr(also, word[i]) == NULL)
            return false;
    }
    return true;
}

static bool pattern_check(const struct key *key, const char *word, size_t length, struct error *why)
{
    int shown = (int)length;
    if (!is_dotted(word, length, "_-*"))
        return refuse_value(key, word, length, "must name events like lead.updated, activity.email.* or *.deleted",
                            why);
    if (memchr(word, '.', length) != NULL || memchr(word, '*', length) != NULL)
        return true;
    if (value_may_be_shown(key, word, length))
        error_set(why, "must name object type and action: \"%.*s\" would match nothing; did you mean \"%.*s.*\"?",
                  shown, word, shown, word);
    else
        error_set(why, "must name object type and action, as lead.updated or lead.*");
    return false;
}

static bool member_check(const struct key *key, const char *word, size_t length, struct error *why)
{
    return is_dotted(word, length, "_-") ||
           refuse_value(key, word, length, "must name members of an event like data.body_html", why);
}

/* A custom field's name, perhaps with `custom.` before it. */
static bool trait_check(const struct key *key, const char *word, size_t length, struct error *why)
{
    size_t before = length > 7 && strncmp(word, "custom.", 7) == 0 ? 7 : 0;
    if (length <= 100 && memchr(word + before, '.', length - before) == NULL &&
        is_dotted(word + before, length - before, "_-"))
        return true;
    return refuse_value(key, word, length, "must name custom fields of a lead like cf_a1b2", why);
}

static bool included_check(const struct key *key, const char *word, size_t length, struct error *why)
{
    for (size_t i = 0; included_names[i] != NULL; i++) {
        if (length == strlen(included_names[i]) && strncmp(word, included_names[i], length) == 0)
            return true;
    }
    return refuse_value(key, word, length, "must be previous_data, changed_fields or both", why);
}

/* A write key is sent as a user name of HTTP Basic, which ends at a colon; the other refused characters belong to
 * comments, quotes and placeholders, never to a key. */
static bool write_key_check(const struct key *key, const char *word, size_t length, struct error *why)
{
    (void)key;
    for (size_t i = 0; i < length; i++) {
        if (!isascii((unsigned char)word[i]) || !isgraph((unsigned char)word[i]) ||
            strchr(":;#\"'<>", word[i]) != NULL) {
            error_set(why, "must be the bare key as RudderStack shows it: no quotes, no comment, none of : ; # < >");
            return false;
        }
    }
    return true;
}

static bool patterns_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    return words_parse(key, text, base, why, pattern_check);
}

static bool members_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    return words_parse(key, text, base, why, member_check);
}

static bool included_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    return words_parse(key, text, base, why, included_check);
}

static bool traits_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    return words_parse(key, text, base, why, trait_check);
}

static bool write_keys_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    return words_parse(key, text, base, why, write_key_check);
}

/* ---- signature keys ---- */

#define SIGNATURE_DIGITS 64 /* close.md: 32 bytes of HMAC-SHA256 */

static bool signature_key_check(const char *word, size_t length, struct error *why)
{
    for (size_t i = 0; i < length; i++) {
        if (text_hex_digit(word[i]) < 0) {
            error_set(why, "must be %d hexadecimal digits, as Close gave it; character %zu of this one is none",
                      SIGNATURE_DIGITS, i + 1);
            return false;
        }
    }
    if (length != SIGNATURE_DIGITS)
        error_set(why, "must be %d hexadecimal digits, as Close gave it; this one has %zu", SIGNATURE_DIGITS, length);
    return length == SIGNATURE_DIGITS;
}

static bool signature_key_append(struct source *source, const char *word, size_t length)
{
    struct signature_key *keys =
        realloc(source->signature_key, (source->signature_keys + 1) * sizeof *source->signature_key);
    if (keys == NULL)
        return false;
    source->signature_key = keys;
    struct signature_key *key = &keys[source->signature_keys];
    *key = (struct signature_key){malloc(length / 2), length / 2};
    if (key->bytes == NULL)
        return false;
    source->signature_keys++;
    return text_hex_decode(word, length, key->bytes);
}

static bool signature_keys_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    (void)key;
    size_t length;
    struct source *source = base;
    for (const char *word; (word = value_word(&text, &length)) != NULL;) {
        bool is_none = length == 4 && strncmp(word, "none", 4) == 0;
        if (source->signature_none || (is_none && source->signature_keys > 0)) {
            error_set(why, "cannot be both none and a key: remove one of them");
            return false;
        }
        source->signature_none = is_none;
        if (is_none)
            continue;
        if (!signature_key_check(word, length, why))
            return false;
        if (!signature_key_append(base, word, length)) {
            error_set(why, NO_MEMORY);
            return false;
        }
    }
    return true;
}

static void signature_keys_clear(const struct key *key, void *base)
{
    (void)key;
    struct source *source = base;
    for (size_t i = 0; i < source->signature_keys; i++)
        secret_free(source->signature_key[i].bytes, source->signature_key[i].length);
    free(source->signature_key);
    source->signature_key = NULL;
    source->signature_keys = 0;
    source->signature_none = false;
}

const struct type type_count = {"number", false, false, count_parse, clear_nothing, text_write_count};
const struct type type_size = {"size", false, false, size_parse, clear_nothing, text_write_size};
const struct type type_duration = {"duration", false, false, duration_parse, clear_nothing, times_write_duration};
const struct type type_choice = {"one of", false, false, choice_parse, clear_nothing, NULL};
const struct type type_certificates = {"path", false, true, certificates_parse, text_clear, NULL};
const struct type type_folder = {"path", false, true, folder_parse, text_clear, NULL};
const struct type type_url = {"URL", false, false, url_parse, text_clear, NULL};
const struct type type_patterns = {"list of events", true, false, patterns_parse, words_clear, NULL};
const struct type type_members = {"list of members", true, false, members_parse, words_clear, NULL};
const struct type type_included = {"list of members", true, false, included_parse, words_clear, NULL};
const struct type type_traits = {"list of custom fields", true, false, traits_parse, words_clear, NULL};
const struct type type_write_keys = {"list of keys", true, false, write_keys_parse, words_clear, NULL};
const struct type type_signature_keys = {"list of keys", true, false, signature_keys_parse, signature_keys_clear, NULL};
const struct type type_secret = {"key", false, false, secret_parse, secret_clear, NULL};
const struct type type_api_url = {"URL", false, false, api_url_parse, text_clear, NULL};
