/* A strict JSON reader that builds json-c trees: see json_reader.h. Values of an array or object gather on one stack
 * until it closes; then its size is known, and it is made in one piece. */
#include "transform/json_reader.h"

#include <json-c/json.h>
#include <json-c/linkhash.h>
#include <json-c/printbuf.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "transform/json_scan.h"

/* A member of an object, or an element of an array, that is not closed yet. */
struct part {
    const char *name; /* NULL: an element */
    struct json_object *value;
};

struct reader {
    struct json_scan scan;
    json_wanted *wanted;
    unsigned depth; /* arrays and objects that are open */
    bool out_of_memory;

    struct part *parts; /* of all that are open, the outermost first; owned */
    size_t count;
    size_t capacity;
};

static bool read_value(struct reader *reader, const char *name, bool build, struct json_object **value);

static bool refuse(struct reader *reader, const char *problem)
{
    return json_scan_refuse(&reader->scan, reader->scan.at, problem);
}

static bool no_memory(struct reader *reader)
{
    reader->out_of_memory = true;
    return refuse(reader, "out of memory");
}

/* Puts a part on the stack, which owns its value from now on. */
static bool push(struct reader *reader, const char *name, struct json_object *value)
{
    if (reader->count == reader->capacity) {
        size_t capacity = reader->capacity == 0 ? 64 : reader->capacity * 2;
        struct part *parts = realloc(reader->parts, capacity * sizeof *parts);
        if (parts == NULL) {
            json_object_put(value);
            return no_memory(reader);
        }
        reader->parts = parts;
        reader->capacity = capacity;
    }
    reader->parts[reader->count++] = (struct part){name, value};
    return true;
}

/* ---- building ---- */

/* json-c starts every object with 16 places of 40 bytes and doubles them, hashing all names anew, before they are two
 * thirds full. An object that will be larger gets its places at once. One that will be much smaller gives some back, or
 * a body of 16 MiB full of {} would take 4 GiB. */
static bool make_places(struct lh_table *table, size_t members)
{
    if (members > 3 && members <= 10)
        return true;
    return members < INT32_MAX / 2 && lh_table_resize(table, (int)members * 2 + 1) == 0;
}

/* Moves a member into the object. json_object_object_add would hash the name a second time. */
static bool add_member(struct lh_table *table, struct part *part)
{
    unsigned long hash = lh_get_hash(table, part->name);
    struct lh_entry *earlier = lh_table_lookup_entry_w_hash(table, part->name, hash);
    if (earlier != NULL) {
        json_object_put(lh_entry_v(earlier));
        lh_entry_set_val(earlier, part->value);
    } else if (lh_table_insert_w_hash(table, part->name, part->value, hash, JSON_C_OBJECT_ADD_CONSTANT_KEY) != 0) {
        return false;
    }
    part->value = NULL;
    return true;
}

/* Only once the object is complete: a null may have replaced an earlier value, and may have been replaced. */
static void remove_nulls(struct lh_table *table)
{
    struct lh_entry *entry;
    struct lh_entry *next;
    lh_foreach_safe(table, entry, next)
    {
        if (lh_entry_v(entry) == NULL)
            lh_table_delete_entry(table, entry);
    }
}

/* Makes an object of the stack's parts from `first` on. */
static bool build_object(struct reader *reader, size_t first, struct json_object **object)
{
    *object = json_object_new_object();
    if (*object == NULL)
        return no_memory(reader);
    struct lh_table *table = json_object_get_object(*object);
    bool built = make_places(table, reader->count - first);
    bool nulls = false;
    for (size_t i = first; built && i < reader->count; i++) {
        nulls |= reader->parts[i].value == NULL;
        built = add_member(table, &reader->parts[i]);
    }
    if (!built) {
        json_object_put(*object);
        return no_memory(reader);
    }
    if (nulls)
        remove_nulls(table);
    reader->count = first;
    return true;
}

/* Makes an array of the stack's parts from `first` on. */
static bool build_array(struct reader *reader, size_t first, struct json_object **array)
{
    /* One place more than needed, for json-c grows an array as soon as it is full. */
    *array = json_object_new_array_ext((int)(reader->count - first) + 1);
    if (*array == NULL)
        return no_memory(reader);
    for (size_t i = first; i < reader->count; i++) {
        if (json_object_array_add(*array, reader->parts[i].value) != 0) {
            json_object_put(*array);
            return no_memory(reader);
        }
        reader->parts[i].value = NULL;
    }
    reader->count = first;
    return true;
}

/* ---- reading ---- */

/* Reads a member's name and the colon after it. */
static const char *read_name(struct reader *reader)
{
    struct json_scan *scan = &reader->scan;
    if (json_scan_space(scan) != '"') {
        refuse(reader, *scan->at == '}' ? "a comma must not stand before }" : "a name in double quotes is missing");
        return NULL;
    }
    const char *start = scan->at;
    size_t nuls = scan->nuls;
    size_t length;
    const char *name = json_scan_string(scan, &length);
    if (name == NULL)
        return NULL;
    if (scan->nuls != nuls) {
        json_scan_refuse(scan, start, "a name holds \\u0000, which cannot be used");
        return NULL;
    }
    if (json_scan_space(scan) != ':') {
        refuse(reader, "a colon is missing after a name");
        return NULL;
    }
    scan->at++;
    return name;
}

static bool read_member(struct reader *reader, const char *parent, bool build)
{
    const char *name = read_name(reader);
    if (name == NULL)
        return false;
    struct json_object *value = NULL;
    bool wanted = build && (reader->wanted == NULL || reader->wanted(reader->depth, parent, name));
    return read_value(reader, name, wanted, &value) && (!wanted || push(reader, name, value));
}

static bool read_object(struct reader *reader, const char *parent, bool build, struct json_object **object)
{
    size_t first = reader->count;
    reader->scan.at++;
    if (json_scan_space(&reader->scan) != '}') {
        for (;;) {
            if (!read_member(reader, parent, build))
                return false;
            if (json_scan_space(&reader->scan) != ',')
                break;
            reader->scan.at++;
        }
        if (*reader->scan.at != '}')
            return refuse(reader, "a comma or } is missing after a member");
    }
    reader->scan.at++;
    return !build || build_object(reader, first, object);
}

static bool read_element(struct reader *reader, bool build)
{
    struct json_object *value = NULL;
    return read_value(reader, NULL, build, &value) && (!build || push(reader, NULL, value));
}

static bool read_array(struct reader *reader, bool build, struct json_object **array)
{
    size_t first = reader->count;
    reader->scan.at++;
    if (json_scan_space(&reader->scan) != ']') {
        for (;;) {
            if (!read_element(reader, build))
                return false;
            if (json_scan_space(&reader->scan) != ',')
                break;
            reader->scan.at++;
        }
        if (*reader->scan.at != ']')
            return refuse(reader, "a comma or ] is missing after an element");
    }
    reader->scan.at++;
    return !build || build_array(reader, first, array);
}

static bool read_container(struct reader *reader, const char *name, bool build, struct json_object **value)
{
    if (reader->depth == JSON_DEPTH_MAX)
        return refuse(reader, "more than 512 arrays and objects lie inside one another");
    reader->depth++;
    bool read = *reader->scan.at == '{' ? read_object(reader, name, build, value) : read_array(reader, build, value);
    reader->depth--;
    return read;
}

/* A json_object_to_json_string_fn for a string that stood in the text without an escape, and so needs none: its bytes
 * are what json-c would print, but need not be looked at one by one. */
static int print_plain(struct json_object *string, struct printbuf *out, int level, int flags)
{
    (void)level;
    (void)flags;
    printbuf_strappend(out, "\"");
    printbuf_memappend(out, json_object_get_string(string), json_object_get_string_len(string));
    return printbuf_strappend(out, "\"");
}

static bool read_string(struct reader *reader, bool build, struct json_object **value)
{
    size_t length;
    const char *text = json_scan_string(&reader->scan, &length);
    if (text == NULL)
        return false;
    if (!build)
        return true;
    *value = json_object_new_string_len(text, (int)length);
    if (*value == NULL)
        return no_memory(reader);
    /* Every escape is longer than what it means: a string as long as its text has none. */
    if (reader->scan.at - text == (ptrdiff_t)length + 1)
        json_object_set_serializer(*value, print_plain, NULL, NULL);
    return true;
}

static bool read_number(struct reader *reader, bool build, struct json_object **value)
{
    const char *text = reader->scan.at;
    if (!json_scan_number(&reader->scan))
        return false;
    if (!build)
        return true;
    char *end = reader->scan.at;
    char after = *end;
    *end = '\0';
    *value = json_object_new_double_s(0, text);
    *end = after;
    return *value != NULL || no_memory(reader);
}

static bool read_boolean(struct reader *reader, bool is_true, bool build, struct json_object **value)
{
    if (!json_scan_word(&reader->scan, is_true ? "true" : "false"))
        return false;
    if (!build)
        return true;
    *value = json_object_new_boolean(is_true);
    return *value != NULL || no_memory(reader);
}

/* Reads the next value. name: of the member that it is; NULL: none. Where build is false, *value is not set. */
static bool read_value(struct reader *reader, const char *name, bool build, struct json_object **value)
{
    char first = json_scan_space(&reader->scan);
    switch (first) {
    case '"':
        return read_string(reader, build, value);
    case '{':
    case '[':
        return read_container(reader, name, build, value);
    case 't':
    case 'f':
        return read_boolean(reader, first == 't', build, value);
    case 'n':
        *value = NULL;
        return json_scan_word(&reader->scan, "null");
    case '\0':
    case ',':
    case ':':
    case ']':
    case '}':
        return refuse(reader, "a value is missing");
    default:
        if (first == '-' || (first >= '0' && first <= '9'))
            return read_number(reader, build, value);
        return refuse(reader, "no value of JSON starts like this");
    }
}

static bool read_text(struct reader *reader, struct json_object **root)
{
    struct json_scan *scan = &reader->scan;
    if (json_scan_space(scan) == '\0' && scan->at == scan->end)
        return refuse(reader, "there is nothing in it but white space");
    if (strncmp(scan->at, "\xEF\xBB\xBF", 3) == 0)
        return refuse(reader, "a byte order mark must not stand before JSON");
    if (!read_value(reader, NULL, true, root))
        return false;
    json_scan_space(scan);
    if (scan->at == scan->end)
        return true;
    json_object_put(*root);
    return refuse(reader, "something follows after the end of the JSON text");
}

static void say_why(const struct json_scan *scan, struct why *why)
{
    why_set(why, "byte %zu%s: %s", (size_t)(scan->problem_at - scan->text),
            scan->problem_at == scan->end ? ", the end of the text" : "", scan->problem);
}

bool json_read(const char *text, size_t length, json_wanted *wanted, struct json_document *document,
               bool *out_of_memory, struct why *why)
{
    *document = (struct json_document){0};
    *out_of_memory = false;
    if (length > JSON_TEXT_MAX) {
        why_set(why, "a JSON text of %zu bytes is more than can be read", length);
        return false;
    }
    char *copy = malloc(length + JSON_SCAN_SPARE);
    if (copy == NULL) {
        *out_of_memory = true;
        why_set(why, "out of memory");
        return false;
    }
    if (length > 0)
        memcpy(copy, text, length);
    memset(copy + length, 0, JSON_SCAN_SPARE);

    struct reader reader = {.scan = {.at = copy, .text = copy, .end = copy + length}, .wanted = wanted};
    document->text = copy;
    bool read = read_text(&reader, &document->root);
    document->replaced = reader.scan.replaced;
    while (reader.count > 0)
        json_object_put(reader.parts[--reader.count].value);
    free(reader.parts);
    if (!read) {
        say_why(&reader.scan, why);
        *out_of_memory = reader.out_of_memory;
        document->root = NULL;
        json_document_free(document);
    }
    return read;
}

void json_document_free(struct json_document *document)
{
    json_object_put(document->root);
    free(document->text);
    *document = (struct json_document){0};
}
