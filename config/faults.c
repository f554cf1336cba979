/* What is wrong with a configuration, and what only looks wrong: noted while it is read. */
#include "config/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
