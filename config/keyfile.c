/* KEY_file: secrets in a file of their own, a value in a line. */
#include "config/internal.h"

#include <stdlib.h>
#include <string.h>

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
    return value_is_good(key, text, why);
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

/* Checks the values in a file, a line each, and moves them together so that a newline stands between them. */
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
    file_free(text);
    return values;
}
