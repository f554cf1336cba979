/* An iterator over the tokens of JSON text: no recursion, no allocation, safe on any bytes. For text that is only
 * displayed: a body that crashes the parser can still be listed, shown and dropped. It checks the order of values,
 * brackets, commas and colons, not the inside of strings, numbers and literals. */
#ifndef BASE_JSON_WALK_H
#define BASE_JSON_WALK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json_reader.h"

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
