/* Parts of a JSON text as they stand in it, so that what was sent and what arrived can be compared byte for byte. */
#ifndef TESTS_SUPPORT_SLICE_H
#define TESTS_SUPPORT_SLICE_H

#include <stdbool.h>
#include <stddef.h>

/* Borrowed bytes of a longer text; at is NULL when there is none. */
struct slice {
    const char *at;
    size_t length;
};

/* A C string as a slice. */
struct slice slice_of(const char *text);

bool slice_equal(struct slice a, struct slice b);

/* True when the text stands somewhere in it. */
bool slice_contains(struct slice slice, const char *text);

/* The value of a member of an object; none when it is no object or has no such member. The name is compared as it is
 * spelt. The text must be JSON that a parser accepted; on other text it returns something within it, or none. */
struct slice slice_member(struct slice object, const char *name);

/* Goes to the next element of an array: *element starts as none. Returns false after the last one, or when it is no
 * array. The same text is required as by slice_member. */
bool slice_element(struct slice array, struct slice *element);

#endif
