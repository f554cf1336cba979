/* A strict JSON reader that builds json-c trees: see json.h. Recursive; JSON_DEPTH_MAX bounds the depth. */
#include "base/json.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    struct json_scan scan;
    struct json_reading how;
    size_t names_replaced;
    unsigned depth;          /* open arrays and objects */
    struct json_parts parts; /* of the open ones that are wanted */
    bool out_of_memory;
};

/* Reads the next value. name: of its member; NULL: none. value: receives the tree; NULL: the value is only checked. */
static bool read_value(struct reader *reader, const char *name, struct json_object **value);

static bool refuse_json(struct reader *reader, const char *problem)
{
    return json_scan_refuse(&reader->scan, reader->scan.at, problem);
}

static bool no_memory(struct reader *reader)
{
    reader->out_of_memory = true;
    return refuse_json(reader, "out of memory");
}

/* Stores a newly made value; NULL means that memory ran out. */
static bool hand_over_value(struct reader *reader, struct json_object *made, struct json_object **value)
{
    *value = made;
    return made != NULL || no_memory(reader);
}

/* What becomes of a name with U+0000: it is replaced, or refused. */
static bool admit_nul(struct reader *reader, const char *start, char *name, size_t length)
{
    if (reader->how.replace_nuls) {
        json_scan_replace_nuls(name, length);
        return true;
    }
    json_scan_refuse(&reader->scan, start, "a name holds \\u0000, which cannot be used");
    return false;
}

/* Reads a member's name and the colon after it. scan.nuls says whether a NUL of it was replaced. */
static inline const char *read_name(struct reader *reader)
{
    struct json_scan *scan = &reader->scan;
    if (json_scan_space(scan) != '"') {
        refuse_json(reader,
                    *scan->at == '}' ? "a comma must not stand before }" : "a name in double quotes is missing");
        return NULL;
    }
    const char *start = scan->at;
    size_t nuls = scan->nuls, replaced = scan->replaced;
    size_t length;
    char *name = json_scan_string(scan, &length);
    if (name != NULL && scan->replaced != replaced)
        json_scan_replace_surrogates(name, length);
    if (name == NULL || (scan->nuls != nuls && !admit_nul(reader, start, name, length)))
        return NULL;
    if (json_scan_space(scan) != ':') {
        refuse_json(reader, "a colon is missing after a name");
        return NULL;
    }
    scan->at++;
    return name;
}

/* Reads a value and pushes it as a part, or only checks it. */
static bool read_part(struct reader *reader, const char *name, bool build)
{
    struct json_object *value = NULL;
    if (!read_value(reader, name, build ? &value : NULL))
        return false;
    return !build || json_parts_push(&reader->parts, name, value) || no_memory(reader);
}

static bool read_member(struct reader *reader, const char *parent, bool build)
{
    size_t nuls = reader->scan.nuls;
    const char *name = read_name(reader);
    if (name == NULL)
        return false;
    build = build && (reader->how.wanted == NULL || reader->how.wanted(reader->depth, parent, name));
    reader->names_replaced += build && reader->scan.nuls != nuls;
    return read_part(reader, name, build);
}

/* Whether another part follows the one just read; consumes the comma. */
static bool is_more(struct reader *reader)
{
    bool more = json_scan_space(&reader->scan) == ',';
    reader->scan.at += more;
    return more;
}

static bool read_object(struct reader *reader, const char *parent, struct json_object **object)
{
    size_t first = reader->parts.count;
    reader->scan.at++;
    if (json_scan_space(&reader->scan) != '}') {
        do {
            if (!read_member(reader, parent, object != NULL))
                return false;
        } while (is_more(reader));
        if (*reader->scan.at != '}')
            return refuse_json(reader, "a comma or } is missing after a member");
    }
    reader->scan.at++;
    return object == NULL || hand_over_value(reader, json_parts_object(&reader->parts, first), object);
}

static bool read_array(struct reader *reader, struct json_object **array)
{
    size_t first = reader->parts.count;
    reader->scan.at++;
    if (json_scan_space(&reader->scan) != ']') {
        do {
            if (!read_part(reader, NULL, array != NULL))
                return false;
        } while (is_more(reader));
        if (*reader->scan.at != ']')
            return refuse_json(reader, "a comma or ] is missing after an element");
    }
    reader->scan.at++;
    return array == NULL || hand_over_value(reader, json_parts_array(&reader->parts, first), array);
}

static bool read_container(struct reader *reader, const char *name, struct json_object **value)
{
    if (reader->depth == JSON_DEPTH_MAX)
        return refuse_json(reader, "more than 512 arrays and objects lie inside one another");
    reader->depth++;
    bool read = *reader->scan.at == '{' ? read_object(reader, name, value) : read_array(reader, value);
    reader->depth--;
    return read;
}

static bool read_string(struct reader *reader, struct json_object **value)
{
    size_t length, replaced = reader->scan.replaced;
    char *text = json_scan_string(&reader->scan, &length);
    if (text == NULL)
        return false;
    /* An escape is longer than the bytes it stands for: a string of the same length as its text has none. */
    bool plain = (size_t)(reader->scan.at - text) == length + 1;
    if (value == NULL)
        return true;
    return hand_over_value(reader,
                           reader->scan.replaced != replaced ? json_tree_replaced(text, length)
                                                             : json_tree_string(text, length, plain),
                           value);
}

static bool read_number(struct reader *reader, struct json_object **value)
{
    const char *text = reader->scan.at;
    if (!json_scan_number(&reader->scan))
        return false;
    if (value == NULL)
        return true;
    char *end = reader->scan.at;
    char after = *end;
    *end = '\0';
    bool given = hand_over_value(reader, json_tree_number(text), value);
    *end = after;
    return given;
}

static bool read_boolean(struct reader *reader, bool is_true, struct json_object **value)
{
    if (!json_scan_word(&reader->scan, is_true ? "true" : "false"))
        return false;
    return value == NULL || hand_over_value(reader, json_object_new_boolean(is_true), value);
}

static bool read_null(struct reader *reader, struct json_object **value)
{
    if (value != NULL)
        *value = NULL;
    return json_scan_word(&reader->scan, "null");
}

static bool read_value(struct reader *reader, const char *name, struct json_object **value)
{
    char first = json_scan_space(&reader->scan);
    switch (first) {
    case '"':
        return read_string(reader, value);
    case '{':
    case '[':
        return read_container(reader, name, value);
    case 't':
    case 'f':
        return read_boolean(reader, first == 't', value);
    case 'n':
        return read_null(reader, value);
    case '\0':
    case ',':
    case ':':
    case ']':
    case '}':
        return refuse_json(reader, "a value is missing");
    default:
        if (first == '-' || (first >= '0' && first <= '9'))
            return read_number(reader, value);
        return refuse_json(reader, "no value of JSON starts like this");
    }
}

static bool read_text(struct reader *reader, struct json_object **root)
{
    struct json_scan *scan = &reader->scan;
    if (json_scan_space(scan) == '\0' && scan->at == scan->end)
        return refuse_json(reader, "there is nothing in it but white space");
    if (strncmp(scan->at, "\xEF\xBB\xBF", 3) == 0)
        return refuse_json(reader, "a byte order mark must not stand before JSON");
    if (!read_value(reader, NULL, root))
        return false;
    json_scan_space(scan);
    if (scan->at == scan->end)
        return true;
    json_object_put(*root);
    return refuse_json(reader, "something follows after the end of the JSON text");
}

static void say_why(const struct json_scan *scan, struct error *why)
{
    error_set(why, "byte %zu%s: %s", (size_t)(scan->problem_at - scan->text),
              scan->problem_at == scan->end ? ", the end of the text" : "", scan->problem);
}

bool json_read_as(const char *text, size_t length, const struct json_reading *how, struct json_document *document,
                  bool *out_of_memory, struct error *why)
{
    *document = (struct json_document){0};
    *out_of_memory = false;
    if (length > JSON_TEXT_MAX) {
        error_set(why, "a JSON text of %zu bytes is more than can be read", length);
        return false;
    }
    char *copy = malloc(length + JSON_SCAN_SPARE);
    if (copy == NULL) {
        *out_of_memory = true;
        error_set(why, "out of memory");
        return false;
    }
    if (length > 0)
        memcpy(copy, text, length);
    memset(copy + length, 0, JSON_SCAN_SPARE);

    struct reader reader = {.scan = {.at = copy, .text = copy, .end = copy + length}, .how = *how};
    document->text = copy;
    bool read = read_text(&reader, &document->root);
    document->replaced = reader.scan.replaced;
    document->nuls = reader.scan.nuls;
    document->names_replaced = reader.names_replaced;
    json_parts_free(&reader.parts);
    if (!read) {
        say_why(&reader.scan, why);
        *out_of_memory = reader.out_of_memory;
        document->root = NULL;
        json_document_free(document);
    }
    return read;
}

bool json_read(const char *text, size_t length, json_wanted *wanted, struct json_document *document,
               bool *out_of_memory, struct error *why)
{
    const struct json_reading how = {.wanted = wanted};
    return json_read_as(text, length, &how, document, out_of_memory, why);
}

void json_document_free(struct json_document *document)
{
    json_object_put(document->root);
    free(document->text);
    *document = (struct json_document){0};
}

/* ---- an array of the outermost object, element by element ---- */

struct json_list {
    struct reader reader;
    const char *text; /* as it was given */
    char *copy;       /* which is read, and changed by it */
    const char *array;
    bool begun, inside; /* the text; the array */
    bool more;          /* another part of the open array or object follows */
    struct json_object *rest, *element;
};

struct json_list *json_list_new(const char *text, size_t length, const char *array, json_wanted *wanted)
{
    struct json_list *list = calloc(1, sizeof *list);
    if (list == NULL)
        return NULL;
    list->text = text;
    list->array = array;
    list->copy = malloc(length + JSON_SCAN_SPARE);
    list->rest = json_object_new_object();
    if (list->copy == NULL || list->rest == NULL) {
        json_list_free(list);
        return NULL;
    }
    if (length > 0)
        memcpy(list->copy, text, length);
    memset(list->copy + length, 0, JSON_SCAN_SPARE);
    list->reader = (struct reader){.scan = {.at = list->copy, .text = list->copy, .end = list->copy + length},
                                   .how = {wanted, .replace_nuls = true}};
    return list;
}

void json_list_free(struct json_list *list)
{
    if (list == NULL)
        return;
    json_parts_free(&list->reader.parts);
    json_object_put(list->element);
    json_object_put(list->rest);
    free(list->copy);
    free(list);
}

struct json_object *json_list_rest(const struct json_list *list)
{
    return list->rest;
}

/* Opens the outermost object. Any other value is read to its end. */
static bool list_begin(struct json_list *list)
{
    struct reader *reader = &list->reader;
    list->begun = true;
    if (json_scan_space(&reader->scan) != '{') {
        struct json_object *root = NULL;
        bool read = read_text(reader, &root);
        json_object_put(read ? root : NULL);
        return read;
    }
    reader->scan.at++;
    reader->depth = 1;
    list->more = json_scan_space(&reader->scan) != '}';
    return true;
}

/* Reads a member of the outermost object, or opens the array. */
static bool list_member(struct json_list *list)
{
    struct reader *reader = &list->reader;
    struct json_object *value = NULL;
    const char *name = read_name(reader);
    if (name == NULL)
        return false;
    bool is_list = strcmp(name, list->array) == 0;
    if (is_list && json_object_object_get(list->rest, name) != NULL)
        return refuse_json(reader, "the list stands in it twice");
    if (is_list && json_scan_space(&reader->scan) == '[') {
        if (json_object_object_add(list->rest, name, json_object_new_array()) != 0)
            return no_memory(reader);
        reader->scan.at++;
        reader->depth++;
        list->inside = true;
        list->more = json_scan_space(&reader->scan) != ']';
        return true;
    }
    bool wanted = reader->how.wanted == NULL || reader->how.wanted(1, NULL, name);
    if (!read_value(reader, NULL, wanted ? &value : NULL))
        return false;
    list->more = is_more(reader);
    return !wanted || json_object_object_add(list->rest, name, value) == 0 || no_memory(reader);
}

/* Closes the array or the outermost object, after its last part. */
static bool list_close(struct json_list *list)
{
    struct json_scan *scan = &list->reader.scan;
    if (*scan->at != (list->inside ? ']' : '}'))
        return refuse_json(&list->reader, list->inside ? "a comma or ] is missing after an element"
                                                       : "a comma or } is missing after a member");
    scan->at++;
    list->reader.depth--;
    list->more = list->inside && is_more(&list->reader);
    list->inside = false;
    if (list->reader.depth > 0)
        return true;
    json_scan_space(scan);
    return scan->at == scan->end || refuse_json(&list->reader, "something follows after the end of the JSON text");
}

static bool list_element(struct json_list *list, struct json_element *element)
{
    struct json_scan *scan = &list->reader.scan;
    json_scan_space(scan);
    const char *start = scan->at;
    if (!read_value(&list->reader, NULL, &list->element))
        return false;
    *element = (struct json_element){list->element, list->text + (start - list->copy), (size_t)(scan->at - start)};
    list->more = is_more(&list->reader);
    return true;
}

enum json_step json_list_next(struct json_list *list, struct json_element *element, struct error *why)
{
    json_object_put(list->element);
    list->element = NULL;
    bool good = list->begun || list_begin(list);
    while (good && list->reader.depth > 0) {
        if (list->inside && list->more) {
            good = list_element(list, element);
            if (good)
                return JSON_ELEMENT;
        } else {
            good = list->more ? list_member(list) : list_close(list);
        }
    }
    if (good)
        return JSON_END;
    say_why(&list->reader.scan, why);
    return JSON_BROKEN;
}
