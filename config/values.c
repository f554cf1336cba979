/* Numbers, durations, sizes and words of lists: text to value and back. */
#include "config/internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct unit {
    char letter; /* '\0': no letter */
    int64_t factor;
};

/* The smallest first. */
static const struct unit durations[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
static const struct unit sizes[] = {{'\0', 1}, {'K', 1024}, {'M', 1024 * 1024}, {'G', 1024 * 1024 * 1024}};
static const struct unit counts[] = {{'\0', 1}};

#define UNITS(table) table, sizeof(table) / sizeof *(table)

static enum value_result read_number(const char *text, const struct unit *units, size_t count, int64_t *value)
{
    int64_t number = 0;
    bool too_large = false;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        int digit = *at - '0';
        too_large = too_large || number > (INT64_MAX - digit) / 10;
        number = too_large ? 0 : number * 10 + digit;
    }
    if (at == text || (*at != '\0' && at[1] != '\0'))
        return VALUE_UNREADABLE;
    for (size_t i = 0; i < count; i++) {
        if (units[i].letter != *at)
            continue;
        if (too_large || number > INT64_MAX / units[i].factor)
            return VALUE_TOO_LARGE;
        *value = number * units[i].factor;
        return VALUE_OK;
    }
    return VALUE_UNREADABLE;
}

enum value_result value_count(const char *text, int64_t *count)
{
    return read_number(text, UNITS(counts), count);
}

enum value_result value_size(const char *text, int64_t *bytes)
{
    return read_number(text, UNITS(sizes), bytes);
}

enum value_result value_duration(const char *text, int64_t *milliseconds)
{
    return read_number(text, UNITS(durations), milliseconds);
}

static void format_number(int64_t value, const struct unit *units, size_t count, char *out, size_t size)
{
    size_t unit = 0;
    for (size_t i = 1; i < count && value != 0; i++) {
        if (value % units[i].factor == 0)
            unit = i;
    }
    char letter[2] = {units[unit].letter, '\0'};
    snprintf(out, size, "%" PRId64 "%s", value / units[unit].factor, letter);
}

void value_format_count(int64_t count, char *out, size_t size)
{
    format_number(count, UNITS(counts), out, size);
}

void value_format_size(int64_t bytes, char *out, size_t size)
{
    format_number(bytes, UNITS(sizes), out, size);
}

void value_format_duration(int64_t milliseconds, char *out, size_t size)
{
    format_number(milliseconds, UNITS(durations), out, size);
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
