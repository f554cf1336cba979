/* What people see of a body: see shown.h. */
#include "transform/shown.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "transform/parsed.h"
#include "transform/transform.h"

/* ---- name, id and lead ---- */

/* The wanted members of the event. */
enum { TYPE, ACTION, ID, LEAD, WANTED };

struct reading {
    struct json_walk walk;
    bool in_event; /* the current member of the body is `event`, and an object */
    bool has_event;
    char text[WANTED][HEADLINE_TEXT];
};

/* Decodes a string token, truncated to fit; "" for other tokens and blank strings, which are not usable. */
static void take_text(const struct json_walk *walk, char out[static HEADLINE_TEXT])
{
    const char *at = walk->token + 1, *end = walk->token + walk->length;
    size_t used = 0;
    out[0] = '\0';
    if (*walk->token != '"')
        return;
    if (walk->length > 1 && end[-1] == '"')
        end--;
    while (at < end) {
        char bytes[4];
        size_t count = json_walk_character(&at, end, bytes);
        bool is_nul = count == 1 && bytes[0] == '\0';
        if (is_nul)
            memcpy(bytes, "\xEF\xBF\xBD", count = 3);
        if (used + count >= HEADLINE_TEXT)
            break;
        memcpy(out + used, bytes, count);
        used += count;
    }
    if (used + 4 >= HEADLINE_TEXT) { /* the cut may be inside a character */
        while (used > 0 && ((unsigned char)out[used - 1] & 0xC0) == 0x80)
            used--;
        used -= used > 0 && ((unsigned char)out[used - 1] & 0x80) != 0;
    }
    out[identifier_is_blank(out, used) ? 0 : used] = '\0';
}

/* Reads the value of a member of the event. Of duplicate names the last counts. */
static enum json_token take_member(struct reading *reading)
{
    static const char *const names[WANTED] = {"object_type", "action", "id", "lead_id"};
    char *wanted = NULL;
    for (size_t i = 0; i < WANTED && wanted == NULL; i++)
        wanted = json_walk_is(&reading->walk, names[i]) ? reading->text[i] : NULL;
    enum json_token token = json_walk_next(&reading->walk);
    if (wanted != NULL)
        wanted[0] = '\0';
    if (wanted != NULL && token == JSON_TOKEN_VALUE)
        take_text(&reading->walk, wanted);
    return token;
}

/* Reads the value of a member of the body. */
static enum json_token take_outer(struct reading *reading)
{
    bool is_event = json_walk_is(&reading->walk, "event");
    enum json_token token = json_walk_next(&reading->walk);
    reading->in_event = is_event && token == JSON_TOKEN_OPEN && *reading->walk.token == '{';
    if (is_event) {
        reading->has_event = reading->in_event;
        memset(reading->text, 0, sizeof reading->text);
    }
    return token;
}

static enum json_token read_all(struct reading *reading)
{
    struct json_walk *walk = &reading->walk;
    bool is_object = false;
    enum json_token token = json_walk_next(walk);
    if (token == JSON_TOKEN_OPEN)
        is_object = *walk->token == '{';
    while (token != JSON_TOKEN_END && token != JSON_TOKEN_BROKEN) {
        if (token == JSON_TOKEN_NAME && is_object && walk->depth == 1)
            token = take_outer(reading);
        else if (token == JSON_TOKEN_NAME && reading->in_event && walk->depth == 2)
            token = take_member(reading);
        else
            token = json_walk_next(walk);
    }
    return token;
}

static const char *given(const char *text)
{
    return text[0] == '\0' ? NULL : text;
}

static void say_why(struct headline *headline, const struct reading *reading, enum json_token last, const char *body)
{
    const char *type = reading->text[TYPE], *action = reading->text[ACTION];
    if (last == JSON_TOKEN_BROKEN)
        error_set(&headline->why, "byte %zu: from here on it is no JSON", (size_t)(reading->walk.at - body));
    else if (!reading->has_event)
        error_set(&headline->why, "it has no member event that is an object");
    else if (*type == '\0' || *action == '\0')
        error_set(&headline->why, "event.%s is missing, blank or not a string",
                  *type == '\0' ? "object_type" : "action");
}

void headline_read(struct headline *headline, const char *body, size_t length)
{
    struct reading reading = {.walk = {.at = body, .end = body + length}};
    *headline = (struct headline){.name = NULL};
    enum json_token last = read_all(&reading);
    say_why(headline, &reading, last, body);
    const char *type = reading.text[TYPE], *action = reading.text[ACTION];
    if (*type != '\0' && *action != '\0') {
        snprintf(headline->name_text, sizeof headline->name_text, "%.*s.%.*s", HEADLINE_TEXT / 2 - 1, type,
                 HEADLINE_TEXT / 2 - 1, action);
        headline->type_length = strlen(type) < HEADLINE_TEXT / 2 - 1 ? strlen(type) : HEADLINE_TEXT / 2 - 1;
        headline->name = headline->name_text;
    }
    memcpy(headline->id_text, reading.text[ID], HEADLINE_TEXT);
    memcpy(headline->lead_text, reading.text[LEAD], HEADLINE_TEXT);
    headline->id = given(headline->id_text);
    headline->lead = given(headline->lead_text);
}

bool headline_matches(const struct headline *headline, const char *pattern)
{
    char *patterns[] = {(char *)(uintptr_t)pattern};
    struct rules rules = {.keep = patterns, .keeps = 1};
    return headline->name != NULL && rules_keep(&rules, headline->name, strlen(headline->name));
}

void headline_event(const struct headline *headline, char *out, size_t size)
{
    snprintf(out, size, "%s", headline->name == NULL ? "(unreadable)" : headline->name);
    if (headline->name != NULL && headline->type_length < strlen(out))
        out[headline->type_length] = ' ';
}

/* ---- bodies for display ---- */

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
