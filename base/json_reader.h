/* A strict JSON reader that builds json-c trees and keeps what json-c's own parser does not: the text of numbers, names
 * and their order, and the difference between JSON and what is merely like it. */
#ifndef BASE_JSON_READER_H
#define BASE_JSON_READER_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Arrays and objects inside one another, the outermost counted. */
#define JSON_DEPTH_MAX 512

/* Bytes; json-c counts what it prints in an int, and a message may be a few times its body. */
#define JSON_TEXT_MAX ((size_t)256 << 20)

/* What was read. All zero holds nothing. Not to be copied; freed with json_document_free. */
struct json_document {
    struct json_object *root; /* NULL: null */
    char *text;               /* the tree's names lie in it */
    size_t replaced;          /* lone surrogates that became U+FFFD */
};

/* Tells whether a member is to be in the tree; one that is not is still read as strictly. depth: 1 in the outermost
 * object, one more inside each array and object. parent: the name of the member that holds this object, NULL at the
 * root and in arrays. */
typedef bool json_wanted(unsigned depth, const char *parent, const char *name);

/* Reads a JSON text into a tree. Members that are null are left out at every depth; elements of arrays stay. Of a name
 * that comes twice, the last value stands in the first one's place. A number is a json_type_double that prints as its
 * own text and has no other value. wanted NULL: all members are. text is borrowed during the call.
 * Returns false with the reason and the byte it is at, counted from 0; *out_of_memory tells whether it is memory. */
bool json_read(const char *text, size_t length, json_wanted *wanted, struct json_document *document,
               bool *out_of_memory, struct error *why);

/* An array that is a member of the outermost object (a page of a long list), read element by element, so that never all
 * of it is a tree, and that each part of the text is read once. One thread. */
struct json_list;

/* An element: its tree (NULL: null), and its bytes as they stand in the text. */
struct json_element {
    struct json_object *tree; /* borrowed until the next call for the list */
    const char *bytes;        /* borrowed from the text */
    size_t length;
};

enum json_step {
    JSON_ELEMENT, /* there is another one */
    JSON_END,     /* the text was read to its end, and all of it is JSON */
    JSON_BROKEN,  /* it is not, or memory is out, and why says so */
};

/* Begins with a text of at most JSON_TEXT_MAX bytes, as strictly as json_read. array: the member's name; wanted: of the
 * others, as above. Both and the text must outlive the list. Returns NULL when memory is out. Free with json_list_free.
 */
struct json_list *json_list_new(const char *text, size_t length, const char *array, json_wanted *wanted);

enum json_step json_list_next(struct json_list *list, struct json_element *element, struct error *why);

/* At JSON_END: the outermost object with its other members as far as they are wanted, null ones as well; the array, if
 * there is one, stands in it without its elements. Empty where the text is no object. Borrowed from the list. */
struct json_object *json_list_rest(const struct json_list *list);

void json_list_free(struct json_list *list);

/* Frees the tree (who holds a reference into it must free that first: names lie in the document) and its text. */
void json_document_free(struct json_document *document);

#endif
