/* Walking over JSON text: see json_walk.h. */
#include "base/json_walk.h"

#include <stdint.h>
#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* What ends a number or word. */
static bool is_end(char c)
{
    return c == ',' || c == ':' || c == ']' || c == '}' || c == '[' || c == '{' || c == '"' || is_blank(c);
}

static enum json_token broken(struct json_walk *walk)
{
    walk->state = JSON_WALK_BROKEN;
    return JSON_TOKEN_BROKEN;
}

static bool in_object(const struct json_walk *walk)
{
    unsigned at = walk->depth - 1;
    return walk->depth > 0 && (walk->is_object[at / 8] >> at % 8 & 1) != 0;
}

static void take(struct json_walk *walk, size_t length)
{
    walk->token = walk->at;
    walk->length = length;
    walk->at += length;
}

static enum json_token open_one(struct json_walk *walk)
{
    if (walk->depth == JSON_DEPTH_MAX)
        return broken(walk);
    unsigned char bit = (unsigned char)(1U << walk->depth % 8), *bits = &walk->is_object[walk->depth / 8];
    *bits = *walk->at == '{' ? *bits | bit : (unsigned char)(*bits & ~bit);
    walk->depth++;
    walk->state = JSON_WALK_FIRST;
    take(walk, 1);
    return JSON_TOKEN_OPEN;
}

static enum json_token close_one(struct json_walk *walk)
{
    if (*walk->at != (in_object(walk) ? '}' : ']'))
        return broken(walk);
    walk->depth--;
    walk->state = JSON_WALK_AFTER;
    take(walk, 1);
    return JSON_TOKEN_CLOSE;
}

/* Takes the string that begins here. Returns whether it ends. */
static bool take_string(struct json_walk *walk)
{
    const char *at = walk->at + 1;
    while (at < walk->end && *at != '"')
        at += *at == '\\' && walk->end - at > 1 ? 2 : 1;
    bool ends = at < walk->end;
    take(walk, (size_t)(at - walk->at) + ends);
    return ends;
}

static enum json_token take_name(struct json_walk *walk)
{
    if (*walk->at != '"')
        return broken(walk);
    take_string(walk);
    while (walk->at < walk->end && is_blank(*walk->at))
        walk->at++;
    if (walk->at == walk->end || *walk->at != ':')
        return broken(walk);
    walk->at++;
    walk->state = JSON_WALK_VALUE;
    return JSON_TOKEN_NAME;
}

static enum json_token take_value(struct json_walk *walk)
{
    const char *at = walk->at;
    if (*at == '{' || *at == '[')
        return open_one(walk);
    walk->state = JSON_WALK_AFTER;
    if (*at == '"') {
        if (!take_string(walk))
            walk->state = JSON_WALK_BROKEN;
        return JSON_TOKEN_VALUE;
    }
    while (at < walk->end && !is_end(*at))
        at++;
    if (at == walk->at)
        return broken(walk);
    take(walk, (size_t)(at - walk->at));
    return JSON_TOKEN_VALUE;
}

enum json_token json_walk_next(struct json_walk *walk)
{
    while (walk->state != JSON_WALK_BROKEN && walk->at < walk->end) {
        char c = *walk->at;
        if (is_blank(c)) {
            walk->at++;
        } else if (walk->state == JSON_WALK_AFTER && c == ',' && walk->depth > 0) {
            walk->at++;
            walk->state = in_object(walk) ? JSON_WALK_NAME : JSON_WALK_VALUE;
        } else if (walk->state == JSON_WALK_AFTER) {
            return walk->depth > 0 ? close_one(walk) : broken(walk);
        } else if (walk->state == JSON_WALK_FIRST && (c == '}' || c == ']')) {
            return close_one(walk);
        } else if (walk->state == JSON_WALK_FIRST) {
            walk->state = in_object(walk) ? JSON_WALK_NAME : JSON_WALK_VALUE;
        } else {
            return walk->state == JSON_WALK_NAME ? take_name(walk) : take_value(walk);
        }
    }
    return walk->state == JSON_WALK_AFTER && walk->depth == 0 ? JSON_TOKEN_END : broken(walk);
}

/* ---- strings ---- */

/* Four hexadecimal digits as a number; -1: there are none. */
static int32_t four_digits(const char *at, const char *end)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    int32_t value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        const char *found = at[i] == '\0' ? NULL : strchr(digits, at[i]);
        if (found == NULL)
            return -1;
        value = value * 16 + (int32_t)((found - digits) % 16);
    }
    return value;
}

static size_t put_utf8(char *to, int32_t code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, code >>= 6)
        to[i] = (char)(0x80 | (code & 0x3F));
    to[0] = (char)((0xF00 >> length & 0xFF) | code);
    return length;
}

/* Behind \u. A pair of surrogates is one character. */
static size_t take_code(const char **at, const char *end, char *out)
{
    int32_t code = four_digits(*at, end);
    if (code < 0)
        return 0;
    *at += 4;
    if (code >= 0xD800 && code <= 0xDBFF && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
        int32_t low = four_digits(*at + 2, end);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            *at += 6;
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
    }
    return put_utf8(out, code >= 0xD800 && code <= 0xDFFF ? 0xFFFD : code);
}

size_t json_walk_character(const char **at, const char *end, char out[static 4])
{
    static const char names[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    char c = *(*at)++;
    if (c != '\\') {
        out[0] = c;
        return 1;
    }
    if (*at == end)
        return 0;
    char name = **at;
    if (name == 'u') {
        ++*at;
        return take_code(at, end, out);
    }
    const char *found = name == '\0' ? NULL : strchr(names, name);
    if (found == NULL)
        return 0;
    ++*at;
    out[0] = meanings[found - names];
    return 1;
}

bool json_walk_is(const struct json_walk *walk, const char *name)
{
    const char *at = walk->token + 1, *end = walk->token + walk->length - 1;
    size_t length = strlen(name);
    while (at < end) {
        char bytes[4];
        size_t count = json_walk_character(&at, end, bytes);
        if (count == 0 || count > length || memcmp(bytes, name, count) != 0)
            return false;
        name += count;
        length -= count;
    }
    return length == 0;
}
