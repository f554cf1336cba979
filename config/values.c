/* Words of lists. */
#include "config/internal.h"

#include <ctype.h>
#include <string.h>

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
