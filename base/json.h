/* JSON: tokens, trees, the reader that makes a tree, the walk that makes none. Each section names its file. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <json-c/json_object.h>
#include <json-c/printbuf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* ---- json_scan.c: JSON tokens: white space, strings, numbers, literals; strict as in RFC 8259 and UTF-8. Strings are
 * decoded in place, which always fits, because an escape is never shorter than the bytes it stands for. ---- */

/* Number of zero bytes that must follow the text: scanning stops at the first, so no step needs a bounds check, and
 * strings can be scanned eight bytes at a time. */
#define JSON_SCAN_SPARE 8

/* A text being scanned. One thread. */
struct json_scan {
    char *at;         /* the next byte to read */
    const char *text; /* start, from which offsets count */
    const char *end;  /* the first zero byte after the text */

    size_t replaced; /* lone surrogates so far */
    size_t nuls;     /* \u0000 escapes so far: tells a reader that a name contains one */

    const char *problem;    /* the first error; NULL: none yet */
    const char *problem_at; /* its position */
};

/* Records an error at a position in the text; only the first is kept. problem must be a literal. Always returns
 * false. */
bool json_scan_refuse(struct json_scan *scan, const char *at, const char *problem);

/* Skips white space and returns the byte after it without consuming it: '\0' at the end of the text. */
char json_scan_space(struct json_scan *scan);

/* Reads the string whose opening quote is next. Returns its decoded bytes, zero-terminated, with their number in
 * *length (there may be a NUL among them); they stay in the text's memory. A lone surrogate is the three bytes that
 * UTF-8 would have for it, were it a character (WTF-8): so different strings have different bytes. NULL with the error
 * recorded. */
char *json_scan_string(struct json_scan *scan, size_t *length);

/* Makes each lone surrogate of a string that json_scan_string returned U+FFFD, which has as many bytes. */
void json_scan_replace_surrogates(char *string, size_t length);

/* Makes each NUL of a string that json_scan_string returned U+FFFD, in the text's memory, where there is room: a NUL
 * stands for an escape of six bytes. Call before anything else is scanned. Returns the new length. */
size_t json_scan_replace_nuls(char *string, size_t length);

/* Reads the four digits after \u, or the two such codes of a surrogate pair; moves *at behind them. Returns the code
 * point (a lone surrogate as itself); -1 when there are no four digits. */
int32_t json_scan_code(const char **at, const char *end);

/* Reads a number; its text lies between the old and the new scan->at. Returns false with the error recorded. */
bool json_scan_number(struct json_scan *scan);

/* Reads exactly that literal: true, false or null. Returns false with the error recorded. */
bool json_scan_word(struct json_scan *scan, const char *word);

/* ---- json_scan.c: Fast building of json-c trees: an array or object is created when all its parts are known, at its
 * final size, and a string or number prints as its original text. ---- */

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

/* Creates a string that json_scan_string found lone surrogates in: they become U+FFFD, in the bytes too;
 * json_tree_exact still has what was there. NULL when out of memory. */
struct json_object *json_tree_replaced(char *bytes, size_t length);

/* The bytes of a string of a tree as json_scan_string decoded them: others than json_object_get_string's only where it
 * has U+FFFD for a lone surrogate. For identities: strings that are not the same must not become so. Borrowed from the
 * string. */
const char *json_tree_exact(struct json_object *string, size_t *length);

/* Creates a number that prints as its text, which is copied, and has no other value. text must be NUL-terminated. NULL
 * when out of memory. */
struct json_object *json_tree_number(const char *text);

/* Prints a text without escapes, in quotes. As printbuf_memappend, but room that is there is used without a call. */
int json_tree_print_plain(struct printbuf *out, const char *text, int length);

/* ---- json_reader.c: A strict JSON reader that builds json-c trees and keeps what json-c's own parser loses: the text
 * of numbers, and names with their order. It accepts only RFC 8259 JSON. ---- */

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

/* ---- json_walk.c: An iterator over the tokens of JSON text: no recursion, no allocation, safe on any bytes. For text
 * that is only displayed: a body that crashes the parser can still be listed, shown and dropped. It checks the order of
 * values, brackets, commas and colons, not the inside of strings, numbers and literals. ---- */

enum json_token {
    JSON_TOKEN_OPEN,   /* { or [ */
    JSON_TOKEN_CLOSE,  /* } or ] */
    JSON_TOKEN_NAME,   /* a member's name with its quotes; its colon was consumed */
    JSON_TOKEN_VALUE,  /* a string with its quotes, a number or a literal */
    JSON_TOKEN_END,    /* end of a complete text */
    JSON_TOKEN_BROKEN, /* invalid JSON from here on; repeated by further calls */
};

/* Set at and end, the rest zero, to begin. One thread. */
struct json_walk {
    const char *at; /* the next byte; of BROKEN: where the text becomes invalid */
    const char *end;
    const char *token; /* the current token's bytes in the text */
    size_t length;
    unsigned depth; /* open arrays and objects; includes an OPEN's own, no longer a CLOSE's own */
    enum { JSON_WALK_VALUE, JSON_WALK_FIRST, JSON_WALK_NAME, JSON_WALK_AFTER, JSON_WALK_BROKEN } state;
    unsigned char is_object[JSON_DEPTH_MAX / 8]; /* one bit for each that is open */
};

/* Goes to the next token. An unterminated string is a token, followed by BROKEN. */
enum json_token json_walk_next(struct json_walk *walk);

/* Decodes the next character of a string token, whose quotes are excluded: moves *at and writes UTF-8 to out. A lone
 * surrogate becomes U+FFFD; bytes above 0x7F are copied one at a time. Returns the number of bytes; 0: invalid escape,
 * and *at moved behind the backslash. Call only while *at < end. */
size_t json_walk_character(const char **at, const char *end, char out[static 4]);

/* Whether the current NAME token equals this name once its escapes are decoded. */
bool json_walk_is(const struct json_walk *walk, const char *name);

/* ---- values as they stand in the text: for text that json_read has accepted, whose bytes must be kept ---- */

/* Borrowed bytes; at is NULL when there is no value. */
struct json_slice {
    const char *at;
    size_t length;
};

/* Returns a member's value in an object; of duplicate names, the last. Names are compared as spelt in the text. */
struct json_slice json_slice_member(struct json_slice object, const char *name);

/* Goes to the next element of an array; *element starts with at NULL. Returns false after the last. */
bool json_slice_element(struct json_slice array, struct json_slice *element);

/* Whether the value is missing, null, {} or []. */
bool json_slice_is_empty(struct json_slice value);

/* The whole text without surrounding white space. */
struct json_slice json_slice_whole(const char *text, size_t length);

/* ---- text laid out for people ----
 * Every token as it stands in the text, a member a line, and without the members that nobody is to see. A tree would
 * lose what a look at the text must show (null members, names that come twice, how a number or string is spelt). */

/* Destination and style of the output. */
struct layout {
    void (*write)(void *context, const char *text, size_t length);
    void *context;
    bool compact; /* one line, without blanks between tokens */
};

/* Formats JSON text. paths: members to leave out, as names from the root joined by dots; where there are paths, a
 * member whose name cannot be decoded is left out too. *removed counts the members left out. Allocates memory only for
 * the paths. Returns false when out of memory or, having written everything before it, where the text is invalid
 * JSON. */
bool layout_text(const struct layout *layout, const char *text, size_t length, const char *const *paths, size_t count,
                 size_t *removed);

#endif
