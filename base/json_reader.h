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

/* Frees the tree (who holds a reference into it must free that first: names lie in the document) and its text. */
void json_document_free(struct json_document *document);

#endif
