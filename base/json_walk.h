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

/* ---- values as they stand in the text: for text that json_read has accepted, whose bytes must be kept ---- */

/* Borrowed bytes; at is NULL when there are none. */
struct json_slice {
    const char *at;
    size_t length;
};

/* The value of a member of an object; of a name that comes twice, the last. Names are compared as they are spelt. */
struct json_slice json_slice_member(struct json_slice object, const char *name);

/* Goes to the next element of an array; *element starts as none. Returns false behind the last one. */
bool json_slice_element(struct json_slice array, struct json_slice *element);

/* Whether there is nothing in it: none, null, {} or []. */
bool json_slice_is_empty(struct json_slice value);

/* The whole text without white space around it. */
struct json_slice json_slice_whole(const char *text, size_t length);

/* ---- text laid out for people ----
 * Every token as it stands in the text, a member a line, and without the members that nobody is to see. A tree would
 * lose what a look at the text must show (null members, names that come twice, how a number or string is spelt). */

/* Where it goes, and how. */
struct layout {
    void (*write)(void *context, const char *text, size_t length);
    void *context;
    bool compact; /* all in one line, without blanks between tokens */
};

/* Lays out JSON text. paths: members to leave out, from the root on, names with dots between them; a member whose
 * name cannot be decoded is left out where there are paths. *removed counts what was left out. Needs memory for the
 * paths only, whatever the text is. Returns false at the place where the text is no JSON, or when memory is out. */
bool layout_text(const struct layout *layout, const char *text, size_t length, const char *const *paths, size_t count,
                 size_t *removed);

#endif
