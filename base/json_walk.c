/* Walking over JSON text: see json_walk.h. */
#include "base/json_walk.h"

#include <string.h>

#include "base/json_scan.h"
#include "base/text.h"

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

/* Behind \u. */
static size_t take_code(const char **at, const char *end, char *out)
{
    int32_t code = json_scan_code(at, end);
    if (code < 0)
        return 0;
    return text_utf8_write(out, code >= 0xD800 && code <= 0xDFFF ? 0xFFFD : (uint32_t)code);
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
