/* Walking over JSON text that is known to be valid: strings and brackets are all that has to be understood. */
#include "tests/support/slice.h"

#include <string.h>

struct slice slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

bool slice_equal(struct slice a, struct slice b)
{
    return a.at != NULL && b.at != NULL && a.length == b.length && memcmp(a.at, b.at, a.length) == 0;
}

bool slice_contains(struct slice slice, const char *text)
{
    return slice.at != NULL && memmem(slice.at, slice.length, text, strlen(text)) != NULL;
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

/* at stands on the opening quote; returns what follows the closing one. */
static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++) {
        if (*at == '\\')
            at++;
    }
    return at < end ? at + 1 : end;
}

static const char *skip_value(const char *at, const char *end)
{
    int depth = 0;
    while (at < end) {
        if (*at == '"') {
            at = skip_string(at, end);
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (*at == '}' || *at == ']') {
            depth--;
            at++;
        } else if (depth == 0) {
            return at + strcspn(at, ",]} \t\r\n"); /* a number or a word; every text here ends with a bracket or NUL */
        } else {
            at++;
            continue;
        }
        if (depth <= 0)
            return at;
    }
    return end;
}

static struct slice value_at(const char *at, const char *end)
{
    const char *stop = skip_value(at, end);
    return (struct slice){at, (size_t)((stop < end ? stop : end) - at)};
}

struct slice slice_member(struct slice object, const char *name)
{
    struct slice none = {NULL, 0};
    if (object.at == NULL)
        return none;
    const char *end = object.at + object.length;
    const char *at = skip_space(object.at, end);
    if (at == end || *at != '{')
        return none;
    for (at++; (at = skip_space(at, end)) < end && *at == '"'; at++) {
        const char *key = at + 1;
        at = skip_string(at, end);
        size_t key_length = (size_t)(at - key) - 1;
        at = skip_space(at, end);
        if (at == end || *at != ':')
            return none;
        struct slice value = value_at(skip_space(at + 1, end), end);
        if (key_length == strlen(name) && memcmp(key, name, key_length) == 0)
            return value;
        at = skip_space(value.at + value.length, end);
        if (at == end || *at != ',')
            return none;
    }
    return none;
}

bool slice_element(struct slice array, struct slice *element)
{
    if (array.at == NULL)
        return false;
    const char *end = array.at + array.length;
    const char *at;
    if (element->at == NULL) {
        at = skip_space(array.at, end);
        if (at == end || *at != '[')
            return false;
    } else {
        at = skip_space(element->at + element->length, end);
        if (at == end || *at != ',')
            return false;
    }
    at = skip_space(at + 1, end);
    if (at == end || *at == ']')
        return false;
    *element = value_at(at, end);
    return true;
}
