/* json-c's trees, built so that they cost little: an array or object is made when all its parts are known, at its final
 * size, and a string or number prints as the text that it stood in. */
#ifndef BASE_JSON_TREE_H
#define BASE_JSON_TREE_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>

/* The parts, so far, of the arrays and objects that are being read, the outermost one's first: a stack. All zero is an
 * empty one. */
struct json_parts {
    struct json_part *at;
    size_t count;
    size_t capacity;
};

/* Puts a part on the stack, which takes the value over, also when it fails. name: of a member; NULL: an element of an
 * array. Names are borrowed, by the tree too. Returns false when memory runs out. */
bool json_parts_push(struct json_parts *parts, const char *name, struct json_object *value);

/* Makes an object of the parts from `first` on, and takes them off the stack: null members left out, of a name that
 * comes twice the last value in the first one's place. NULL when memory runs out. */
struct json_object *json_parts_object(struct json_parts *parts, size_t first);

/* Makes an array of them, likewise; null elements stay. */
struct json_object *json_parts_array(struct json_parts *parts, size_t first);

/* Frees the stack and what is still on it. */
void json_parts_free(struct json_parts *parts);

/* A string, copied. plain: it stood in JSON without an escape, and so is printed without one. NULL: no memory. */
struct json_object *json_tree_string(const char *bytes, size_t length, bool plain);

/* A number that prints as its text, copied, and has no other value. text needs a zero byte at its end. NULL: no memory.
 */
struct json_object *json_tree_number(const char *text);

#endif
