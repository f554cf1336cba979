/* Durations and words of lists: text to value and back. */
#include "config/internal.h"

#include <ctype.h>
#include <string.h>

/* The smallest first. */
static const struct text_unit durations[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};

enum text_reading value_duration(const char *text, int64_t *milliseconds)
{
    return text_read_units(text, durations, sizeof durations / sizeof *durations, milliseconds);
}

void value_format_duration(int64_t milliseconds, char *out, size_t size)
{
    text_write_units(milliseconds, durations, sizeof durations / sizeof *durations, out, size);
}

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
