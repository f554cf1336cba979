/* Commands to type: see own_command.h. */
#include "config/own_command.h"

#include "base/program_name.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The length of the command's name, of one word or two: "queue set-aside". */
static size_t name_length(const char *words)
{
    size_t length = 0;
    for (int i = 0; i < 2; i++) {
        const char *word = words + length + (length > 0 && words[length] == ' ');
        size_t size = strspn(word, "abcdefghijklmnopqrstuvwxyz-");
        if (size == 0 || *word == '-' || (word[size] != ' ' && word[size] != '\0'))
            break;
        length = (size_t)(word - words) + size;
    }
    return length;
}

const char *own_command(char out[static OWN_COMMAND], const struct config *config, const char *source,
                        const char *words, ...)
{
    char rest[OWN_COMMAND] = "";
    size_t name = name_length(words);
    va_list arguments;
    va_start(arguments, words);
    int needed = vsnprintf(rest, sizeof rest, words + name, arguments);
    va_end(arguments);
    if (needed < 0 || needed >= (int)sizeof rest)
        rest[0] = '\0'; /* half an argument is none */
    bool is_named = source != NULL && config->sources > 1;
    int used = snprintf(out, OWN_COMMAND, "%s %.*s%s%.64s%s", program_name(), (int)name, words,
                        is_named ? " --source " : "", is_named ? source : "", rest);
    if (used >= OWN_COMMAND)
        snprintf(out, OWN_COMMAND, "%s %.*s", program_name(), (int)name, words);
    return out;
}
