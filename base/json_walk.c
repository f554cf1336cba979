/* The JSON token iterator: see json.h. */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Whether a character ends a number or literal. */
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

static void take_bytes(struct json_walk *walk, size_t length)
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
    take_bytes(walk, 1);
    return JSON_TOKEN_OPEN;
}

static enum json_token close_one(struct json_walk *walk)
{
    if (*walk->at != (in_object(walk) ? '}' : ']'))
        return broken(walk);
    walk->depth--;
    walk->state = JSON_WALK_AFTER;
    take_bytes(walk, 1);
    return JSON_TOKEN_CLOSE;
}

/* Consumes a string. Returns whether it is terminated. */
static bool take_string(struct json_walk *walk)
{
    const char *at = walk->at + 1;
    while (at < walk->end && *at != '"')
        at += *at == '\\' && walk->end - at > 1 ? 2 : 1;
    bool ends = at < walk->end;
    take_bytes(walk, (size_t)(at - walk->at) + ends);
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
    take_bytes(walk, (size_t)(at - walk->at));
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

/* Decodes the digits after \u. */
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

/* ---- values as they stand in the text ---- */

/* Consumes the next value. Returns false when none follows. */
static bool walk_value(struct json_walk *walk, struct json_slice *value)
{
    unsigned around = walk->depth;
    enum json_token token = json_walk_next(walk);
    if (token != JSON_TOKEN_OPEN && token != JSON_TOKEN_VALUE)
        return false;
    const char *begin = walk->token;
    while (walk->depth > around && token != JSON_TOKEN_BROKEN)
        token = json_walk_next(walk);
    *value = (struct json_slice){begin, (size_t)(walk->token + walk->length - begin)};
    return token != JSON_TOKEN_BROKEN;
}

struct json_slice json_slice_whole(const char *text, size_t length)
{
    struct json_walk walk = {.at = text, .end = text + length};
    struct json_slice value = {NULL, 0};
    walk_value(&walk, &value);
    return value;
}

/* Starts an iterator inside an array or object. Returns false for other values. */
static bool walk_into(struct json_walk *walk, struct json_slice value)
{
    *walk = (struct json_walk){.at = value.at, .end = value.at + value.length};
    return value.length > 0 && json_walk_next(walk) == JSON_TOKEN_OPEN;
}

struct json_slice json_slice_member(struct json_slice object, const char *name)
{
    struct json_slice found = {NULL, 0}, value;
    struct json_walk walk;
    size_t length = strlen(name);
    bool more = walk_into(&walk, object);
    while (more && json_walk_next(&walk) == JSON_TOKEN_NAME) {
        bool same = walk.length == length + 2 && memcmp(walk.token + 1, name, length) == 0;
        more = walk_value(&walk, &value);
        if (more && same)
            found = value;
    }
    return found;
}

bool json_slice_element(struct json_slice array, struct json_slice *element)
{
    struct json_walk walk;
    if (!walk_into(&walk, array) || *array.at != '[')
        return false;
    if (element->at != NULL) {
        walk.at = element->at + element->length;
        walk.state = JSON_WALK_AFTER;
    }
    return walk_value(&walk, element);
}

bool json_slice_is_empty(struct json_slice value)
{
    struct json_walk walk;
    if (walk_into(&walk, value))
        return json_walk_next(&walk) == JSON_TOKEN_CLOSE;
    return value.length == 0 || (value.length == 4 && memcmp(value.at, "null", 4) == 0);
}

/* ---- layout ---- */

#define INDENT 2

/* An open array or object; the first frame stands for the text's top level. */
struct frame {
    size_t paths;   /* paths that may end in it: the stack from this index on */
    size_t restore; /* stack size before it was opened */
    bool is_object;
    bool muted; /* it is hidden */
    bool any;   /* at least one part was written */
};

/* The remainders of the paths that may end in the current value form a stack: [paths, count). A member's name consumes
 * at least one step of a path, so the stack never holds more entries than all paths have steps. */
struct laying {
    const struct layout *to;
    struct json_walk walk;
    const char **path;
    size_t count;
    size_t removed;
    size_t member_paths;   /* of the member whose value comes next */
    size_t member_restore; /* likewise */
    bool member_muted;
    struct frame frame[JSON_DEPTH_MAX + 1];
};

static void put_indented(const struct laying *laying, const char *text, size_t length)
{
    laying->to->write(laying->to->context, text, length);
}

static void begin_line(const struct laying *laying, size_t depth)
{
    static const char blanks[] = "                                ";
    if (laying->to->compact)
        return;
    put_indented(laying, "\n", 1);
    for (size_t left = depth * INDENT, step; left > 0; left -= step) {
        step = left < sizeof blanks - 1 ? left : sizeof blanks - 1;
        put_indented(laying, blanks, step);
    }
}

/* Writes the separator and indentation before a part of an array or object. */
static void begin_part(const struct laying *laying, const struct frame *frame)
{
    if (frame->any)
        put_indented(laying, ",", 1);
    begin_line(laying, laying->walk.depth);
}

/* Returns the remainder of a path after the current name; NULL: the name is not on the path. *bad: the name cannot be
 * decoded. */
static const char *behind(const char *path, const struct json_walk *walk, bool *bad)
{
    const char *at = walk->token + 1, *end = walk->token + walk->length - 1;
    while (at < end) {
        char bytes[4];
        size_t count = json_walk_character(&at, end, bytes);
        *bad = *bad || count == 0;
        for (size_t i = 0; i < count; i++, path++) {
            if (*path == '\0' || *path != bytes[i])
                return NULL;
        }
    }
    return path;
}

/* Pushes the remainders of the paths that continue below this member. Returns whether a path ends here. */
static bool follow(struct laying *laying, size_t from)
{
    bool ends = false, bad = false;
    size_t here = laying->count;
    for (size_t i = from; i < here; i++) {
        const char *rest = behind(laying->path[i], &laying->walk, &bad);
        if (rest != NULL && *rest == '.')
            laying->path[laying->count++] = rest + 1;
        ends = ends || (rest != NULL && *rest == '\0');
    }
    return ends || bad; /* hidden, because it could be one of the names */
}

static void lay_name(struct laying *laying, struct frame *frame)
{
    laying->member_restore = laying->member_paths = laying->count;
    bool left_out = follow(laying, frame->paths);
    laying->removed += left_out && !frame->muted;
    laying->member_muted = left_out || frame->muted;
    if (laying->member_muted)
        return;
    begin_part(laying, frame);
    put_indented(laying, laying->walk.token, laying->walk.length);
    put_indented(laying, ": ", laying->to->compact ? 1 : 2);
    frame->any = true;
}

/* Begins a value inside frame `around`; new_one is the frame to open for an array or object. */
static void begin_value(const struct laying *laying, struct frame *around, struct frame *new_one)
{
    *new_one = (struct frame){around->paths, laying->count, *laying->walk.token == '{', around->muted, false};
    if (around->is_object) {
        new_one->paths = laying->member_paths;
        new_one->restore = laying->member_restore;
        new_one->muted = laying->member_muted;
    }
}

static void lay_open(struct laying *laying)
{
    unsigned depth = --laying->walk.depth; /* of the enclosing array or object */
    struct frame *around = &laying->frame[depth];
    begin_value(laying, around, &laying->frame[depth + 1]);
    if (!around->is_object && !around->muted && depth > 0)
        begin_part(laying, around);
    around->any = around->any || !around->is_object;
    laying->walk.depth++;
    if (!laying->frame[depth + 1].muted)
        put_indented(laying, laying->walk.token, 1);
}

static void lay_value(struct laying *laying)
{
    struct frame *around = &laying->frame[laying->walk.depth], itself;
    begin_value(laying, around, &itself);
    if (!around->is_object && !around->muted && laying->walk.depth > 0)
        begin_part(laying, around);
    around->any = around->any || !around->is_object;
    if (!itself.muted)
        put_indented(laying, laying->walk.token, laying->walk.length);
    laying->count = itself.restore;
}

static void lay_close(struct laying *laying)
{
    const struct frame *closed = &laying->frame[laying->walk.depth + 1];
    if (!closed->muted && closed->any)
        begin_line(laying, laying->walk.depth);
    if (!closed->muted)
        put_indented(laying, laying->walk.token, 1);
    laying->count = closed->restore;
}

static bool lay_all(struct laying *laying)
{
    for (;;) {
        switch (json_walk_next(&laying->walk)) {
        case JSON_TOKEN_NAME:
            lay_name(laying, &laying->frame[laying->walk.depth]);
            break;
        case JSON_TOKEN_OPEN:
            lay_open(laying);
            break;
        case JSON_TOKEN_CLOSE:
            lay_close(laying);
            break;
        case JSON_TOKEN_VALUE:
            lay_value(laying);
            break;
        case JSON_TOKEN_END:
            return true;
        case JSON_TOKEN_BROKEN:
            return false;
        }
    }
}

/* Allocates the stack at its maximum size. */
static bool make_stack(struct laying *laying, const char *const *paths, size_t count)
{
    size_t steps = 1;
    for (size_t i = 0; i < count; i++) {
        steps++;
        for (const char *at = paths[i]; *at != '\0'; at++)
            steps += *at == '.';
    }
    laying->path = calloc(steps, sizeof *laying->path);
    for (size_t i = 0; i < count && laying->path != NULL; i++)
        laying->path[laying->count++] = paths[i];
    return laying->path != NULL;
}

bool layout_text(const struct layout *layout, const char *text, size_t length, const char *const *paths, size_t count,
                 size_t *removed)
{
    struct laying *laying = calloc(1, sizeof *laying);
    *removed = 0;
    if (laying == NULL)
        return false;
    laying->to = layout;
    laying->walk.at = text;
    laying->walk.end = text + length;
    bool good = make_stack(laying, paths, count) && lay_all(laying);
    *removed = laying->removed;
    free(laying->path);
    free(laying);
    return good;
}
