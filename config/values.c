/* Words of lists. */
#include "config/internal.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool separates(char c)
{
    return c == ',' || isspace((unsigned char)c);
}

const char *value_word(const char **rest, size_t *length)
{
    const char *start = *rest;
    while (*start != '\0' && separates(*start))
        start++;
    const char *end = start;
    while (*end != '\0' && !separates(*end))
        end++;
    *rest = end;
    *length = (size_t)(end - start);
    return end == start ? NULL : start;
}

size_t value_control(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] != '\t' && ((unsigned char)text[i] < 0x20 || text[i] == 0x7f))
            return i + 1;
    }
    return 0;
}

/* ---- The types of the keys that are for watching: a password, and a command with its arguments. ---- */

#define PASSWORD_LEAST 8   /* minimum length: the page is open to the internet */
#define PASSWORD_MOST 500  /* maximum that HTTP Basic can carry here */
#define ARGUMENTS_MOST 100 /* arguments of a command */

static void *field_of(const struct key *key, void *base)
{
    return (char *)base + key->offset;
}

static void password_clear(const struct key *key, void *base)
{
    char **text = field_of(key, base);
    if (*text != NULL)
        secret_free(*text, strlen(*text));
    *text = NULL;
}

static bool password_store(const struct key *key, void *base, char *text)
{
    password_clear(key, base);
    memcpy(field_of(key, base), &text, sizeof text);
    return text != NULL;
}

static bool password_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    size_t length = strlen(text);
    if (length < PASSWORD_LEAST || length > PASSWORD_MOST || value_control(text, length) != 0) {
        error_set(why, "must be %d to %d characters in one line", PASSWORD_LEAST, PASSWORD_MOST);
        return false;
    }
    char *copy = strdup(text);
    if (copy == NULL)
        error_set(why, "could not be read: out of memory");
    return password_store(key, base, copy);
}

/* Returns the next word of a command line: separated by blanks, quoted by double quotes. The caller frees it. NULL:
 * none, with a reason if that is an error. */
static char *next_word(const char **rest, struct error *why)
{
    const char *at = *rest;
    while (isspace((unsigned char)*at))
        at++;
    char *word = *at == '\0' ? NULL : malloc(strlen(at) + 1);
    size_t length = 0;
    bool quoted = false;
    if (word == NULL) {
        error_set(why, "%s", *at == '\0' ? "" : "could not be read: out of memory");
        return NULL;
    }
    for (; *at != '\0' && (quoted || !isspace((unsigned char)*at)); at++) {
        if (*at == '"')
            quoted = !quoted;
        else
            word[length++] = *at;
    }
    word[length] = '\0';
    *rest = at;
    if (!quoted)
        return word;
    error_set(why, "has a double quote without its end");
    free(word);
    return NULL;
}

static void command_clear(const struct key *key, void *base)
{
    struct strings *words = field_of(key, base);
    for (size_t i = 0; i < words->count; i++)
        free(words->at[i]);
    free(words->at);
    *words = (struct strings){0};
}

static bool add_words(struct strings *words, const char *text, struct error *why)
{
    char *word;
    while ((word = next_word(&text, why)) != NULL) {
        if (words->count == ARGUMENTS_MOST) {
            error_set(why, "has more than %d words", ARGUMENTS_MOST);
            free(word);
            return false;
        }
        words->at[words->count++] = word;
    }
    return why->text[0] == '\0';
}

/* Builds a NULL-terminated argv. */
static bool command_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    struct strings *words = field_of(key, base);
    struct error none = {0};
    if (why == NULL)
        why = &none;
    error_set(why, "%s", "");
    command_clear(key, base);
    words->at = calloc(ARGUMENTS_MOST + 1, sizeof *words->at);
    if (words->at == NULL) {
        error_set(why, "could not be read: out of memory");
        return false;
    }
    if (!add_words(words, text, why))
        return false;
    const char *program = words->at[0];
    if (program == NULL || program[0] != '/')
        error_set(why, "must begin with the whole path of a program, such as /usr/local/bin/tell-me");
    else if (access(program, X_OK) != 0)
        error_set(why, "names %.300s, which cannot be executed: %s", program, strerror(errno));
    return why->text[0] == '\0';
}

/* ---- a secret address ---- */

static bool webhook_url_parse(const struct key *key, const char *text, void *base, struct error *why)
{
    return password_store(key, base, url_webhook(text, why));
}

const struct type type_password = {"password", false, false, password_parse, password_clear, NULL};
const struct type type_webhook_url = {"URL", false, false, webhook_url_parse, password_clear, NULL};
const struct type type_command = {"program and arguments", false, false, command_parse, command_clear, NULL};
