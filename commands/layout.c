/* JSON text, indented: see layout.h. A tree would lose what no message has and a look at the event must show: null
 * members, names that come twice, how a number or string is spelt. */
#include "commands/layout.h"

#include <stdlib.h>
#include <string.h>

#include "commands/plain.h"
#include "transform/json_reader.h"

#define INDENT 2

/* The rests of the paths that may end in the value in hand lie on a stack: [from, count). */
struct layout {
    FILE *out;
    const char *at;
    const char *end;
    const char **path;
    size_t count;
    size_t capacity;
    size_t removed;
    bool failed;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* What ends a number or word. */
static bool is_end(char c)
{
    return c == ',' || c == ':' || c == ']' || c == '}' || is_blank(c);
}

static void skip_blanks(struct layout *layout)
{
    while (layout->at < layout->end && is_blank(*layout->at))
        layout->at++;
}

static bool is_next(struct layout *layout, char c)
{
    skip_blanks(layout);
    return layout->at < layout->end && *layout->at == c;
}

/* Moves behind the string, number or word that is next. Returns its length. */
static size_t skip_token(struct layout *layout)
{
    const char *start = layout->at;
    bool string = *start == '"';
    layout->at++;
    while (layout->at < layout->end && (string ? *layout->at != '"' : !is_end(*layout->at)))
        layout->at += *layout->at == '\\' && layout->end - layout->at > 1 ? 2 : 1;
    if (string && layout->at < layout->end)
        layout->at++;
    return (size_t)(layout->at - start);
}

static void begin_line(const struct layout *layout, size_t depth)
{
    if (layout->out != NULL)
        fprintf(layout->out, "\n%*s", (int)(depth * INDENT), "");
}

static void write_text(const struct layout *layout, const char *text, size_t length)
{
    if (layout->out != NULL)
        plain_write(layout->out, text, length);
}

static void push(struct layout *layout, const char *rest)
{
    if (layout->count == layout->capacity) {
        size_t capacity = layout->capacity == 0 ? 64 : layout->capacity * 2;
        const char **path = realloc(layout->path, capacity * sizeof *path);
        layout->failed = layout->failed || path == NULL;
        if (path == NULL)
            return;
        layout->path = path;
        layout->capacity = capacity;
    }
    layout->path[layout->count++] = rest;
}

/* Of the paths from `from` on: pushes the rests of those that go on below this member. Returns whether one ends here.
 */
static bool follow(struct layout *layout, size_t from, const char *token, size_t length)
{
    struct json_document name = {NULL, NULL, 0};
    bool out_of_memory, ends = false;
    if (!json_read(token, length, NULL, &name, &out_of_memory, NULL)) {
        layout->failed = true; /* not knowing the name is no reason to show it */
        return true;
    }
    const char *words = json_object_get_string(name.root);
    size_t here = layout->count, words_length = strlen(words);
    for (size_t i = from; i < here; i++) {
        const char *path = layout->path[i];
        if (strncmp(path, words, words_length) != 0)
            continue;
        ends = ends || path[words_length] == '\0';
        if (path[words_length] == '.')
            push(layout, path + words_length + 1);
    }
    json_document_free(&name);
    return ends;
}

static void write_value(struct layout *layout, size_t from, size_t depth);

/* Writes a member, or only moves behind one that is left out. Returns whether it was written. */
static bool write_member(struct layout *layout, size_t from, size_t depth, bool first)
{
    FILE *out = layout->out;
    size_t here = layout->count;
    const char *name = layout->at;
    size_t length = skip_token(layout);
    bool left_out = follow(layout, from, name, length);
    if (left_out)
        layout->out = NULL;
    layout->removed += left_out && out != NULL;
    write_text(layout, ",", first ? 0 : 1);
    begin_line(layout, depth);
    write_text(layout, name, length);
    write_text(layout, ": ", 2);
    if (is_next(layout, ':'))
        layout->at++;
    write_value(layout, here, depth);
    layout->count = here;
    layout->out = out;
    return !left_out;
}

static void write_members(struct layout *layout, size_t from, size_t depth)
{
    bool any = false;
    layout->at++;
    write_text(layout, "{", 1);
    while (is_next(layout, '"') && !layout->failed) {
        any = write_member(layout, from, depth + 1, !any) || any;
        if (is_next(layout, ','))
            layout->at++;
    }
    if (is_next(layout, '}'))
        layout->at++;
    if (any)
        begin_line(layout, depth);
    write_text(layout, "}", 1);
}

static void write_elements(struct layout *layout, size_t from, size_t depth)
{
    bool any = false;
    layout->at++;
    write_text(layout, "[", 1);
    for (; !is_next(layout, ']') && layout->at < layout->end && !layout->failed; any = true) {
        write_text(layout, ",", any ? 1 : 0);
        begin_line(layout, depth + 1);
        write_value(layout, from, depth + 1);
        if (is_next(layout, ','))
            layout->at++;
    }
    if (is_next(layout, ']'))
        layout->at++;
    if (any)
        begin_line(layout, depth);
    write_text(layout, "]", 1);
}

/* As deep as the text's brackets, which the reader has counted. */
static void write_value(struct layout *layout, size_t from, size_t depth)
{
    skip_blanks(layout);
    if (layout->at >= layout->end || depth > JSON_DEPTH_MAX) {
        layout->at = layout->end;
    } else if (*layout->at == '{') {
        write_members(layout, from, depth);
    } else if (*layout->at == '[') {
        write_elements(layout, from, depth);
    } else {
        const char *token = layout->at;
        write_text(layout, token, skip_token(layout));
    }
}

bool layout_write(FILE *out, const char *text, size_t length, const char *const *paths, size_t count, size_t *removed)
{
    struct layout layout = {.out = out, .at = text, .end = text + length};
    for (size_t i = 0; i < count; i++)
        push(&layout, paths[i]);
    if (!layout.failed)
        write_value(&layout, 0, 0);
    fputc('\n', out);
    free(layout.path);
    *removed = layout.removed;
    return !layout.failed;
}
