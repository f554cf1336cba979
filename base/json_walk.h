/* Walking over JSON text without reading it into anything: a token at a time, no recursion, no allocation, whatever the
 * bytes are. It is for text that is only shown to people: a body that crashes the parser can still be listed, shown and
 * thrown away. It checks how values, brackets, commas and colons follow one another, and nothing inside strings,
 * numbers and words. */
#ifndef BASE_JSON_WALK_H
#define BASE_JSON_WALK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json_reader.h"

enum json_token {
    JSON_TOKEN_OPEN,   /* { or [ */
    JSON_TOKEN_CLOSE,  /* } or ] */
    JSON_TOKEN_NAME,   /* a member's name with its quotes; its colon was passed */
    JSON_TOKEN_VALUE,  /* a string with its quotes, a number or a word */
    JSON_TOKEN_END,    /* the text is over, and was whole */
    JSON_TOKEN_BROKEN, /* the text is no JSON from here on; this token stays the last */
};

/* Start one with at and end set, the rest zero. One thread. */
struct json_walk {
    const char *at; /* what is looked at next; of BROKEN: where the text is no JSON */
    const char *end;
    const char *token; /* the token in hand, its bytes in the text */
    size_t length;
    unsigned depth; /* arrays and objects that are open; OPEN's own counts, CLOSE's own does not any more */
    enum { JSON_WALK_VALUE, JSON_WALK_FIRST, JSON_WALK_NAME, JSON_WALK_AFTER, JSON_WALK_BROKEN } state;
    unsigned char is_object[JSON_DEPTH_MAX / 8]; /* a bit for each that is open */
};

/* Goes to the next token. A string that does not end is a token; BROKEN follows. */
enum json_token json_walk_next(struct json_walk *walk);

/* Takes the next character out of a string token without its quotes: *at moves on, its UTF-8 comes into out. An escape
 * is decoded, a lone surrogate becomes U+FFFD; bytes above 0x7F come one at a time, as they stand. Returns how many
 * bytes; 0: the escape is none that JSON has, and *at moved behind the backslash. Call only while *at < end. */
size_t json_walk_character(const char **at, const char *end, char out[static 4]);

/* Whether the NAME in hand is this name, however it is spelt. */
bool json_walk_is(const struct json_walk *walk, const char *name);

#endif
