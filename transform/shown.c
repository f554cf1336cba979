/* Bodies for people's eyes: see shown.h. */
#include "transform/shown.h"

#include <json-c/json.h>
#include <stdlib.h>

#include "transform/json_reader.h"
#include "transform/rules.h"

/* What was removed from data must not show in its previous values: they stand in for data once. */
static bool remove_from_previous(const struct rules *rules, struct json_object *event)
{
    struct json_object *previous = json_object_object_get(event, "previous_data");
    if (previous == NULL)
        return true;
    struct json_object *stand_in = json_object_new_object();
    if (stand_in == NULL)
        return false;
    bool good = json_object_object_add(stand_in, "data", json_object_get(previous)) == 0;
    if (good) {
        rules_remove(rules, stand_in);
        /* data removed as a whole */
        if (json_object_object_get(stand_in, "data") == NULL)
            json_object_object_del(event, "previous_data");
    }
    json_object_put(stand_in);
    return good;
}

static bool remove_all(const struct rules *rules, struct json_object *root)
{
    struct json_object *event = json_object_object_get(root, "event");
    if (!json_object_is_type(event, json_type_object))
        return false;
    if (!remove_from_previous(rules, event))
        return false;
    rules_remove(rules, event);
    return true;
}

bool transform_shown(const char *body, size_t length, const struct rules *rules, struct buffer *out)
{
    struct json_document document = {0};
    bool out_of_memory = false;
    if (rules->removes == 0) {
        buffer_append(out, body, length);
        return !out->failed;
    }
    bool good = json_read(body, length, NULL, &document, &out_of_memory, NULL) &&
                json_object_is_type(document.root, json_type_object) && remove_all(rules, document.root);
    if (good) {
        size_t printed;
        const char *text = json_object_to_json_string_length(
            document.root, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &printed);
        good = text != NULL;
        if (good)
            buffer_append(out, text, printed);
    }
    json_document_free(&document);
    return good && !out->failed;
}

static void new_line(struct buffer *out, size_t depth)
{
    static const char blanks[] = "                                        ";
    size_t width = 2 * depth < sizeof blanks - 1 ? 2 * depth : sizeof blanks - 1;
    buffer_text(out, "\n");
    buffer_append(out, blanks, width);
}

/* The length of a string that begins at text, its quotes included; to the end when it does not end. */
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

/* Whether the next character that is not blank closes what is open. */
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
