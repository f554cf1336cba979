/* A second reader of JSON, for judging the program's own: written from RFC 8259 alone, as plain as can be, with nothing
 * in common with base/json_*. It reads texts that tests/support/strict_json has found to be JSON. One thread. */
#ifndef FUZZ_RIG_WALKER_H
#define FUZZ_RIG_WALKER_H

#include <stdbool.h>

#include "base/buffer.h"
#include "tests/support/slice.h"

/* A value. All of a tree is freed together. */
struct node {
    char kind;         /* '{' '[' '"' '0' (a number), 't' 'f' 'n' */
    struct slice text; /* as it stands in the text */
    char *bytes;       /* of a string: decoded, a lone surrogate as U+FFFD */
    size_t length;
    bool lone;  /* of a string: there was one */
    char *name; /* of a member: decoded likewise; NULL: an element, or the outermost */
    size_t name_length;
    struct node *first, *next;
    struct node *allocated; /* the one before, for freeing */
};

/* What the text is made of. */
struct walked {
    struct node *root;      /* NULL: the text could not be read */
    struct node *allocated; /* the last one */
    unsigned deepest;       /* arrays and objects inside one another */
    size_t name_nuls;       /* names with U+0000 in them */
};

/* Reads a text, which must stay. */
void walk(struct walked *walked, struct slice text);
void walk_free(struct walked *walked);

/* The value of an object's member: of several of that name the last, and none where that is null. */
const struct node *node_member(const struct node *object, const char *name);

/* Whether it is a string of just these bytes; node NULL: no. */
bool node_is(const struct node *node, const char *bytes, size_t length);

/* What a message shall have of a value. */
struct node_wish {
    bool replace_nuls;          /* U+0000 as U+FFFD, in names, too */
    const char *const *without; /* members of the outermost object that are left out; NULL-terminated, or NULL */
    const struct node *subscription_id; /* is put in place of the outermost object's member of that name; NULL: not */
};

/* Appends it in a form in which equal values have equal bytes: members in their order, of names that come twice the
 * last value in the first one's place, no member that is null; strings decoded; numbers as they stand. wish NULL: as it
 * is. */
void node_write(const struct node *node, const struct node_wish *wish, struct buffer *out);

#endif
