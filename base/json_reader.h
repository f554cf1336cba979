/* A strict JSON reader that builds json-c trees and keeps what json-c's own parser loses: the text of numbers, and
 * names with their order. It accepts only RFC 8259 JSON. */
#ifndef BASE_JSON_READER_H
#define BASE_JSON_READER_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Maximum nesting of arrays and objects, including the outermost. */
#define JSON_DEPTH_MAX 512

/* Maximum bytes of a text: json-c counts the bytes that it prints in an int, and a message can be several times its
 * body. */
#define JSON_TEXT_MAX ((size_t)256 << 20)

/* A parsed document. Zero-initialized: empty. Must not be copied; freed with json_document_free. */
struct json_document {
    struct json_object *root; /* NULL: null */
    char *text;               /* holds the tree's names */
    size_t replaced;          /* lone surrogates that became U+FFFD */
    size_t nuls;              /* \u0000 in strings and names, also of members that are not in the tree */
    size_t names_replaced;    /* names of the tree in which \u0000 became U+FFFD */
};

/* Returns whether a member is to be in the tree; a member left out is parsed just as strictly. depth: 1 in the
 * outermost object, one more inside each array and object. parent: the name of the member that holds this object; NULL
 * at the root and in arrays. */
typedef bool json_wanted(unsigned depth, const char *parent, const char *name);

/* Parses a JSON text into a tree. null members are left out at every depth, null elements of arrays stay. Of duplicate
 * names, the last value takes the first one's place. A number is a json_type_double that prints as its original text
 * and has no other value. wanted NULL: all members. text is borrowed during the call. Returns false with the reason and
 * the byte offset; *out_of_memory is true when the reason is lack of memory. */
bool json_read(const char *text, size_t length, json_wanted *wanted, struct json_document *document,
               bool *out_of_memory, struct error *why);

/* How to read. */
struct json_reading {
    json_wanted *wanted; /* NULL: all members */
    bool replace_nuls; /* in names, where a tree cannot hold one, U+0000 becomes U+FFFD; else such a text is refused */
};

/* As json_read, which replaces no NULs. */
bool json_read_as(const char *text, size_t length, const struct json_reading *how, struct json_document *document,
                  bool *out_of_memory, struct error *why);

/* Iterates over an array that is a member of the outermost object (a page of a long list), so that only one element at
 * a time is a tree, and the text is read once. One thread. */
struct json_list;

/* An element: its tree (NULL: null), and its bytes in the text. */
struct json_element {
    struct json_object *tree; /* borrowed until the next call of json_list_next */
    const char *bytes;        /* borrowed from the text */
    size_t length;
};

enum json_step {
    JSON_ELEMENT, /* *element was set */
    JSON_END,     /* the text was read to its end and is valid JSON */
    JSON_BROKEN,  /* invalid JSON or out of memory; see why */
};

/* Begins to iterate over a text of at most JSON_TEXT_MAX bytes, as strictly as json_read, but that it
 * replaces NULs in names: the text of one element must not spoil the others. array: the member's name;
 * wanted: which other members to keep, as above. Both and the text must outlive the list. Returns NULL when out of
 * memory. Free with json_list_free. */
struct json_list *json_list_new(const char *text, size_t length, const char *array, json_wanted *wanted);

enum json_step json_list_next(struct json_list *list, struct json_element *element, struct error *why);

/* At JSON_END: the outermost object with its other wanted members, null ones included; the array, if any, is in it
 * without elements. An empty object when the text is no object. Borrowed from the list. */
struct json_object *json_list_rest(const struct json_list *list);

void json_list_free(struct json_list *list);

/* Frees the tree and its text. References into the tree must be released first, because the document holds their
 * names. */
void json_document_free(struct json_document *document);

#endif
