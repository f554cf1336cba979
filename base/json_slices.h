/* Parts of a JSON text as they stand in it: an event out of the log's answer must keep its bytes. Only for text that
 * json_read has accepted; nothing is checked here. */
#ifndef BASE_JSON_SLICES_H
#define BASE_JSON_SLICES_H

#include <stdbool.h>
#include <stddef.h>

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

/* Whether it is this plain string. */
bool json_slice_is(struct json_slice value, const char *text);

/* The whole text without white space around it. */
struct json_slice json_slice_whole(const char *text, size_t length);

#endif
