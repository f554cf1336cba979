/* Bodies for display: see shown.h. */
#include "transform/shown.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "transform/rules.h"

/* Paths from the body's root; owned. */
struct paths {
    char **at;
    size_t count;
};

static bool add_path(struct paths *paths, const char *before, const char *path)
{
    if (asprintf(&paths->at[paths->count], "%s%s", before, path) < 0)
        return false;
    paths->count++;
    return true;
}

/* Members removed from data must not be displayed from previous_data either, as they are not sent
 * from there. */
static bool find_paths(struct paths *paths, const struct rules *rules)
{
    paths->at = calloc(rules->removes * 3 + 1, sizeof *paths->at);
    bool good = paths->at != NULL;
    for (size_t i = 0; good && i < rules->removes; i++) {
        const char *path = rules->remove[i];
        good = add_path(paths, "event.", path) &&
               (!rules_is_of_data(path) || add_path(paths, "event.previous_", path)) &&
               (strcmp(path, "subscription_id") != 0 || add_path(paths, "", path)); /* stands beside the event */
    }
    return good;
}

static void free_paths(struct paths *paths)
{
    for (size_t i = 0; i < paths->count; i++)
        free(paths->at[i]);
    free(paths->at);
}

/* Whether the text is JSON and has an event to which the paths apply. */
static bool is_whole(const char *body, size_t length, bool *has_event)
{
    struct json_walk walk = {.at = body, .end = body + length};
    bool named = false, is_object = false;
    enum json_token token;
    *has_event = false;
    while ((token = json_walk_next(&walk)) != JSON_TOKEN_END) {
        if (token == JSON_TOKEN_BROKEN)
            return false;
        bool opens = token == JSON_TOKEN_OPEN && *walk.token == '{';
        if (opens && walk.depth == 1)
            is_object = true;
        if (named)
            *has_event = opens;
        named = is_object && token == JSON_TOKEN_NAME && walk.depth == 1 && json_walk_is(&walk, "event");
    }
    return true;
}

bool shown_write(const char *body, size_t length, const struct rules *rules, const struct layout *layout,
                 size_t *removed)
{
    struct paths paths = {NULL, 0};
    bool has_event, whole = is_whole(body, length, &has_event);
    *removed = 0;
    if (rules->removes > 0 && !(whole && has_event))
        return false;
    if (!whole) {
        layout->write(layout->context, body, length);
        return true;
    }
    bool good = find_paths(&paths, rules) &&
                layout_text(layout, body, length, (const char *const *)paths.at, paths.count, removed);
    free_paths(&paths);
    return good;
}

static void append_shown(void *context, const char *text, size_t length)
{
    buffer_append(context, text, length);
}

bool transform_shown(const char *body, size_t length, const struct rules *rules, struct buffer *out)
{
    const struct layout layout = {.write = append_shown, .context = out, .compact = true};
    size_t removed;
    if (rules->removes == 0) {
        buffer_append(out, body, length);
        return !out->failed;
    }
    return shown_write(body, length, rules, &layout, &removed) && !out->failed;
}

static void new_line(struct buffer *out, size_t depth)
{
    static const char blanks[] = "                                        ";
    size_t width = 2 * depth < sizeof blanks - 1 ? 2 * depth : sizeof blanks - 1;
    buffer_text(out, "\n");
    buffer_append(out, blanks, width);
}

/* Returns the length of the string at the start of text, quotes included; the whole length when it is unterminated. */
static size_t string_length(const char *text, size_t length)
{
    size_t i = 1;
    while (i < length && text[i] != '"')
        i += text[i] == '\\' ? 2 : 1;
    return i < length ? i + 1 : length;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Whether the next non-blank character closes the open array or object. */
static bool closes_at_once(const char *text, size_t length)
{
    size_t i = 0;
    while (i < length && is_blank(text[i]))
        i++;
    return i < length && (text[i] == '}' || text[i] == ']');
}

void transform_indent(const char *text, size_t length, struct buffer *out)
{
    size_t depth = 0;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c == '"') {
            size_t n = string_length(text + i, length - i);
            buffer_append(out, text + i, n);
            i += n - 1;
        } else if (c == '{' || c == '[') {
            buffer_append(out, &c, 1);
            depth++;
            if (!closes_at_once(text + i + 1, length - i - 1))
                new_line(out, depth);
        } else if (c == '}' || c == ']') {
            bool is_empty = out->length > 0 && (out->data[out->length - 1] == '{' || out->data[out->length - 1] == '[');
            depth -= depth > 0 ? 1 : 0;
            if (!is_empty)
                new_line(out, depth);
            buffer_append(out, &c, 1);
        } else if (c == ',') {
            buffer_append(out, &c, 1);
            new_line(out, depth);
        } else if (c == ':') {
            buffer_text(out, ": ");
        } else if (!is_blank(c)) {
            buffer_append(out, &c, 1);
        }
    }
}
