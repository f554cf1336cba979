/* Fast building of json-c trees: an array or object is created when all its parts are known, at its final size, and a
 * string or number prints as its original text. */
#ifndef BASE_JSON_TREE_H
#define BASE_JSON_TREE_H

#include <json-c/json_object.h>
#include <json-c/printbuf.h>
#include <stdbool.h>
#include <stddef.h>

/* A stack of the parts read so far of all open arrays and objects, the outermost first. Zero-initialized: empty. */
struct json_parts {
    struct json_part *at;
    size_t count;
    size_t capacity;
};

/* Pushes a part; takes ownership of the value, also on failure. name: of a member; NULL: an element of an array. Names
 * are borrowed, by the tree too. Returns false when out of memory. */
bool json_parts_push(struct json_parts *parts, const char *name, struct json_object *value);

/* Pops the parts from `first` on and makes an object of them: null members are left out; of duplicate names, the last
 * value takes the first one's place. NULL when out of memory. */
struct json_object *json_parts_object(struct json_parts *parts, size_t first);

/* Pops the parts from `first` on and makes an array of them; null elements stay. NULL when out of memory. */
struct json_object *json_parts_array(struct json_parts *parts, size_t first);

/* Frees the stack and the parts still on it. */
void json_parts_free(struct json_parts *parts);

/* Creates a string; the bytes are copied. plain: its JSON text had no escape, so it is printed without looking for one.
 * NULL when out of memory. */
struct json_object *json_tree_string(const char *bytes, size_t length, bool plain);

/* Creates a number that prints as its text, which is copied, and has no other value. text must be NUL-terminated. NULL
 * when out of memory. */
struct json_object *json_tree_number(const char *text);

/* Prints a text without escapes, in quotes. As printbuf_memappend, but room that is there is used without a call. */
int json_tree_print_plain(struct printbuf *out, const char *text, int length);

#endif
