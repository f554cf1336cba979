/* The result of transform_parse, input of transform_message. Private to these two. */
#ifndef TRANSFORM_PARSED_H
#define TRANSFORM_PARSED_H

#include <json-c/json_object.h>

#include "base/json_reader.h"
#include "transform/transform.h"
#include <stdbool.h>
#include <stddef.h>

/* ---- message.c: ids that Close does not give ---- */

/* Bytes of a UUID as text, with its NUL. */
#define IDENTIFIER_TEXT 37

/* Whether UTF-8 text is empty or only white space as defined by Unicode, Go or JavaScript, because RudderStack trims
 * with all three. */
bool identifier_is_blank(const char *text, size_t length);

/* Computes a version 5 UUID of these bytes in this program's namespace: equal bytes always give the same UUID. */
void identifier_make(const void *bytes, size_t length, unsigned char uuid[static 16]);

/* The same as lower-case text. */
void identifier_make_text(const void *bytes, size_t length, char text[static IDENTIFIER_TEXT]);

/* ---- nul.c: U+0000 ---- */

/* Makes every U+0000 in the value's texts, and in those of its arrays and objects, U+FFFD; *count counts the texts.
 * Returns false when out of memory. */
bool nul_replace(struct json_object *value, size_t *count);

struct parsed {
    struct json_document document;
    struct json_object *event;           /* in the document */
    struct json_object *subscription_id; /* from the envelope, in the document; NULL: none */

    char *name; /* "opportunity updated", owned */
    size_t name_length;
    size_t type_length; /* length of object_type: the space's position in name */

    struct json_object *lead; /* usable lead_id; an own reference, since `remove` may take it out of the event */
    struct json_object *id;   /* usable id, an own reference too; NULL: none */

    char anonymous_id[IDENTIFIER_TEXT]; /* set when there is no lead */
    char made_id[IDENTIFIER_TEXT];      /* UUID of the body; set when there is no id */

    struct identity identity;
    int64_t timestamp_us; /* the message's timestamp; DATE_UNREADABLE: none */
    size_t body_length;
    size_t texts_replaced; /* texts in which transform_message replaced U+0000 */
};

#endif
