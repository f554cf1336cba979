/* Fast building of json-c trees: see json_tree.h. */
#include "base/json_tree.h"

#include <json-c/json.h>
#include <json-c/linkhash.h>
#include <json-c/printbuf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct json_part {
    const char *name;
    struct json_object *value;
};

bool json_parts_push(struct json_parts *parts, const char *name, struct json_object *value)
{
    if (parts->count == parts->capacity) {
        size_t capacity = parts->capacity == 0 ? 64 : parts->capacity * 2;
        struct json_part *at = realloc(parts->at, capacity * sizeof *at);
        if (at == NULL) {
            json_object_put(value);
            return false;
        }
        parts->at = at;
        parts->capacity = capacity;
    }
    parts->at[parts->count++] = (struct json_part){name, value};
    return true;
}

/* json-c creates every object with 16 slots of 40 bytes and doubles them, rehashing all names, before they are two
 * thirds full. A larger object gets its slots at once. A much smaller one gives some back, or a body of 16 MiB full of
 * {} would take 4 GiB. */
static bool make_places(struct lh_table *table, size_t members)
{
    if (members > 3 && members <= 10)
        return true;
    return members < INT32_MAX / 2 && lh_table_resize(table, (int)members * 2 + 1) == 0;
}

/* Moves a member into the object. json_object_object_add would hash the name again. */
static bool add_member(struct lh_table *table, struct json_part *part)
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

/* Called when the object is complete: a null may have replaced an earlier value, or have been replaced. */
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

struct json_object *json_parts_object(struct json_parts *parts, size_t first)
{
    struct json_object *object = json_object_new_object();
    if (object == NULL)
        return NULL;
    struct lh_table *table = json_object_get_object(object);
    bool built = make_places(table, parts->count - first);
    bool nulls = false;
    for (size_t i = first; built && i < parts->count; i++) {
        nulls |= parts->at[i].value == NULL;
        built = add_member(table, &parts->at[i]);
    }
    if (!built) {
        json_object_put(object);
        return NULL;
    }
    if (nulls)
        remove_nulls(table);
    parts->count = first;
    return object;
}

struct json_object *json_parts_array(struct json_parts *parts, size_t first)
{
    /* One slot more than needed, because json-c grows an array as soon as it is full. */
    struct json_object *array = json_object_new_array_ext((int)(parts->count - first) + 1);
    if (array == NULL)
        return NULL;
    for (size_t i = first; i < parts->count; i++) {
        if (json_object_array_add(array, parts->at[i].value) != 0) {
            json_object_put(array);
            return NULL;
        }
        parts->at[i].value = NULL;
    }
    parts->count = first;
    return array;
}

void json_parts_free(struct json_parts *parts)
{
    while (parts->count > 0)
        json_object_put(parts->at[--parts->count].value);
    free(parts->at);
    *parts = (struct json_parts){0};
}

int json_tree_print_plain(struct printbuf *out, const char *text, int length)
{
    if (length >= out->size - out->bpos - 3) {
        printbuf_strappend(out, "\"");
        printbuf_memappend(out, text, length);
        return printbuf_strappend(out, "\"");
    }
    char *to = out->buf + out->bpos;
    to[0] = '"';
    memcpy(to + 1, text, (size_t)length);
    to[length + 1] = '"';
    to[length + 2] = '\0';
    out->bpos += length + 2;
    return length + 2;
}

/* A json_object_to_json_string_fn that prints a string without escaping it. */
static int print_plain(struct json_object *string, struct printbuf *out, int level, int flags)
{
    (void)level;
    (void)flags;
    return json_tree_print_plain(out, json_object_get_string(string), json_object_get_string_len(string));
}

struct json_object *json_tree_string(const char *bytes, size_t length, bool plain)
{
    struct json_object *string = json_object_new_string_len(bytes, (int)length);
    if (string != NULL && plain)
        json_object_set_serializer(string, print_plain, NULL, NULL);
    return string;
}

struct json_object *json_tree_number(const char *text)
{
    return json_object_new_double_s(0, text);
}
