/* The second reader of JSON: see walker.h. */
#include "fuzz/rig/walker.h"

#include "fuzz/rig/rig.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD"

struct walk {
    const char *at, *end;
    unsigned depth;
    struct walked *out;
};

static struct node *walk_value(struct walk *walk);

static void skip_space(struct walk *walk)
{
    while (walk->at < walk->end && memchr(" \t\r\n", *walk->at, 4) != NULL)
        walk->at++;
}

static bool walk_take(struct walk *walk, char wanted)
{
    skip_space(walk);
    if (walk->at == walk->end || *walk->at != wanted)
        return false;
    walk->at++;
    return true;
}

static struct node *node_new(struct walk *walk, char kind)
{
    struct node *node = calloc(1, sizeof *node);
    RIG_CHECK(node != NULL, "out of memory");
    node->kind = kind;
    node->allocated = walk->out->allocated;
    walk->out->allocated = node;
    return node;
}

/* ---- strings ---- */

static size_t put_code(char *out, uint32_t code)
{
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (length == 1) {
        *out = (char)code;
        return 1;
    }
    for (size_t i = length; i-- > 1; code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3F));
    out[0] = (char)(lead[length] | code);
    return length;
}

static uint32_t four_digits(const char *at)
{
    char digits[5] = {at[0], at[1], at[2], at[3], '\0'};
    return (uint32_t)strtoul(digits, NULL, 16);
}

/* The escape behind a backslash. Returns its length. *lone becomes true where it is half a pair. */
static size_t decode_escape(const char *at, char *out, size_t *written, bool *lone)
{
    static const char named[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    if (*at != 'u') {
        *out = meant[strchr(named, *at) - named];
        *written = 1;
        return 1;
    }
    uint32_t code = four_digits(at + 1);
    size_t length = 5;
    if (code >= 0xD800 && code < 0xDC00 && at[5] == '\\' && at[6] == 'u') {
        uint32_t low = four_digits(at + 7);
        if (low >= 0xDC00 && low < 0xE000) {
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            length = 11;
        }
    }
    if (code >= 0xD800 && code < 0xE000) {
        code = 0xFFFD;
        *lone = true;
    }
    *written = put_code(out, code);
    return length;
}

/* Reads a string whose quote comes next. NULL: there is none. */
static char *walk_string(struct walk *walk, size_t *length, bool *lone)
{
    if (!walk_take(walk, '"'))
        return NULL;
    char *out = malloc((size_t)(walk->end - walk->at) + 4);
    RIG_CHECK(out != NULL, "out of memory");
    *length = 0;
    while (*walk->at != '"') {
        size_t written = 1;
        if (*walk->at == '\\') {
            walk->at += 1 + decode_escape(walk->at + 1, out + *length, &written, lone);
        } else {
            out[*length] = *walk->at++;
        }
        *length += written;
    }
    walk->at++;
    return out;
}

/* ---- values ---- */

static bool walk_parts(struct walk *walk, struct node *container, char close)
{
    struct node **next = &container->first;
    if (++walk->depth > walk->out->deepest)
        walk->out->deepest = walk->depth;
    while (!walk_take(walk, close)) {
        size_t length = 0;
        bool lone = false;
        char *name = close == '}' ? walk_string(walk, &length, &lone) : NULL;
        if (close == '}' && (name == NULL || !walk_take(walk, ':'))) {
            free(name);
            return false;
        }
        *next = walk_value(walk);
        if (*next == NULL) {
            free(name);
            return false;
        }
        (*next)->name = name;
        (*next)->name_length = length;
        walk->out->name_nuls += name != NULL && memchr(name, '\0', length) != NULL;
        next = &(*next)->next;
        walk_take(walk, ',');
    }
    walk->depth--;
    return true;
}

static struct node *walk_value(struct walk *walk)
{
    skip_space(walk);
    if (walk->at == walk->end)
        return NULL;
    const char *start = walk->at;
    bool is_number = memchr("-0123456789", *start, 11) != NULL;
    struct node *node = node_new(walk, *start);
    if (is_number)
        node->kind = '0';
    if (*start == '"') {
        node->bytes = walk_string(walk, &node->length, &node->lone);
    } else if (*start == '{' || *start == '[') {
        walk->at++;
        if (!walk_parts(walk, node, *start == '{' ? '}' : ']'))
            return NULL;
    } else {
        while (walk->at < walk->end && memchr(" \t\r\n,]}", *walk->at, 7) == NULL)
            walk->at++;
    }
    node->text = (struct slice){start, (size_t)(walk->at - start)};
    return node;
}

void walk(struct walked *walked, struct slice text)
{
    *walked = (struct walked){.root = NULL};
    struct walk state = {.at = text.at, .end = text.at + text.length, .out = walked};
    walked->root = walk_value(&state);
}

void walk_free(struct walked *walked)
{
    while (walked->allocated != NULL) {
        struct node *node = walked->allocated;
        walked->allocated = node->allocated;
        free(node->bytes);
        free(node->name);
        free(node);
    }
    walked->root = NULL;
}

/* ---- looking and writing ---- */

const struct node *node_member(const struct node *object, const char *name)
{
    const struct node *found = NULL;
    if (object == NULL || object->kind != '{')
        return NULL;
    for (const struct node *member = object->first; member != NULL; member = member->next) {
        if (member->name_length == strlen(name) && memcmp(member->name, name, member->name_length) == 0)
            found = member;
    }
    return found == NULL || found->kind == 'n' ? NULL : found;
}

bool node_is(const struct node *node, const char *bytes, size_t length)
{
    return node != NULL && node->kind == '"' && node->length == length && memcmp(node->bytes, bytes, length) == 0;
}

static void write_text(const char *bytes, size_t length, bool replace, struct buffer *out)
{
    buffer_text(out, "\"");
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '\0' && replace)
            buffer_text(out, REPLACEMENT);
        else if (bytes[i] == '"' || bytes[i] == '\\')
            buffer_append(out, bytes[i] == '"' ? "\\\"" : "\\\\", 2);
        else
            buffer_append(out, bytes + i, 1);
    }
    buffer_text(out, "\"");
}

/* A name as a text that is to be compared. */
static void write_name(const struct node *member, bool replace, struct buffer *out)
{
    buffer_clear(out);
    write_text(member->name, member->name_length, replace, out);
}

static bool is_left_out(const struct node *member, const struct node_wish *wish)
{
    for (const char *const *name = wish->without; name != NULL && *name != NULL; name++) {
        if (member->name_length == strlen(*name) && memcmp(member->name, *name, member->name_length) == 0)
            return true;
    }
    return false;
}

struct named {
    struct buffer name;
    const struct node *value;
};

static void write_object(const struct node *object, const struct node_wish *wish, const struct node_wish *inner,
                         struct buffer *out)
{
    struct named *members = NULL;
    size_t count = 0, room = 0;
    const struct node own = {.name = (char *)(uintptr_t) "subscription_id", .name_length = strlen("subscription_id")};
    for (const struct node *at = object->first; at != NULL || wish->subscription_id != NULL;
         at = at == NULL ? NULL : at->next) {
        if (at != NULL && is_left_out(at, wish))
            continue;
        if (count == room) {
            room = room == 0 ? 16 : room * 2;
            struct named *more = realloc(members, room * sizeof *members);
            RIG_CHECK(more != NULL, "out of memory");
            members = more;
        }
        struct named *last = &members[count];
        *last = (struct named){.value = at != NULL ? at : wish->subscription_id};
        write_name(at != NULL ? at : &own, wish->replace_nuls, &last->name);
        size_t same = 0;
        while (same < count && !slice_equal(rig_slice(&members[same].name), rig_slice(&last->name)))
            same++;
        /* A null is gone before what is put in place of a member comes: that comes last. */
        if (same < count && (at != NULL || members[same].value->kind != 'n')) {
            members[same].value = last->value;
            buffer_free(&last->name);
        } else {
            count++;
        }
        if (at == NULL)
            break;
    }
    buffer_text(out, "{");
    for (size_t i = 0; i < count; i++) {
        if (members[i].value->kind != 'n') {
            buffer_append(out, members[i].name.data, members[i].name.length);
            buffer_text(out, ":");
            node_write(members[i].value, inner, out);
            buffer_text(out, ",");
        }
        buffer_free(&members[i].name);
    }
    buffer_text(out, "}");
    free(members);
}

void node_write(const struct node *node, const struct node_wish *wish, struct buffer *out)
{
    static const struct node_wish none;
    wish = wish == NULL ? &none : wish;
    const struct node_wish inner = {.replace_nuls = wish->replace_nuls};
    if (node->kind == '"') {
        write_text(node->bytes, node->length, wish->replace_nuls, out);
    } else if (node->kind == '{') {
        write_object(node, wish, &inner, out);
    } else if (node->kind == '[') {
        buffer_text(out, "[");
        for (const struct node *at = node->first; at != NULL; at = at->next) {
            node_write(at, &inner, out);
            buffer_text(out, ",");
        }
        buffer_text(out, "]");
    } else {
        buffer_append(out, node->text.at, node->text.length);
    }
}
