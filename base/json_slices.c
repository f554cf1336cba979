/* Walking over JSON text that is known to be good: see json_slices.h. */
#include "base/json_slices.h"

#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && is_space(*at))
        at++;
    return at;
}

/* Behind the string whose quote is at `at`. */
static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++) {
        if (*at == '\\')
            at++;
    }
    return at < end ? at + 1 : end;
}

/* Behind the array or object that opens at `at`. */
static const char *skip_nested(const char *at, const char *end)
{
    size_t depth = 0;
    while (at < end) {
        if (*at == '"') {
            at = skip_string(at, end);
            continue;
        }
        if (*at == '{' || *at == '[')
            depth++;
        else if ((*at == '}' || *at == ']') && --depth == 0)
            return at + 1;
        at++;
    }
    return end;
}

static const char *skip_value(const char *at, const char *end)
{
    if (at >= end)
        return end;
    if (*at == '"')
        return skip_string(at, end);
    if (*at == '{' || *at == '[')
        return skip_nested(at, end);
    while (at < end && strchr(",}] \t\r\n", *at) == NULL)
        at++;
    return at;
}

struct json_slice json_slice_whole(const char *text, size_t length)
{
    const char *end = text + length;
    const char *at = skip_space(text, end);
    while (end > at && is_space(end[-1]))
        end--;
    return (struct json_slice){at, (size_t)(end - at)};
}

struct json_slice json_slice_member(struct json_slice object, const char *name)
{
    struct json_slice found = {NULL, 0};
    if (object.length == 0 || *object.at != '{')
        return found;
    size_t length = strlen(name);
    const char *end = object.at + object.length;
    for (const char *at = skip_space(object.at + 1, end); at < end && *at == '"';) {
        const char *spelt = at + 1;
        at = skip_string(at, end);
        bool same = (size_t)(at - 1 - spelt) == length && memcmp(spelt, name, length) == 0;
        at = skip_space(at, end) + 1; /* the colon */
        at = skip_space(at, end);
        const char *value = at;
        at = skip_value(at, end);
        if (same)
            found = (struct json_slice){value, (size_t)(at - value)};
        at = skip_space(at, end);
        if (at < end && *at == ',')
            at = skip_space(at + 1, end);
    }
    return found;
}

bool json_slice_element(struct json_slice array, struct json_slice *element)
{
    if (array.length == 0 || *array.at != '[')
        return false;
    const char *end = array.at + array.length;
    const char *at = element->at == NULL ? array.at + 1 : element->at + element->length;
    at = skip_space(at, end);
    if (element->at != NULL && at < end && *at == ',')
        at = skip_space(at + 1, end);
    if (at >= end || *at == ']')
        return false;
    *element = (struct json_slice){at, (size_t)(skip_value(at, end) - at)};
    return true;
}

bool json_slice_is_empty(struct json_slice value)
{
    if (value.length == 0 || (value.length == 4 && memcmp(value.at, "null", 4) == 0))
        return true;
    if (*value.at != '{' && *value.at != '[')
        return false;
    return skip_space(value.at + 1, value.at + value.length) == value.at + value.length - 1;
}

bool json_slice_is(struct json_slice value, const char *text)
{
    size_t length = strlen(text);
    return value.length == length + 2 && value.at[0] == '"' && memcmp(value.at + 1, text, length) == 0;
}
