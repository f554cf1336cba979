/* What transform_parse understood of a body and transform_message needs. Only these two look inside. */
#ifndef TRANSFORM_PARSED_H
#define TRANSFORM_PARSED_H

#include <json-c/json_object.h>

#include "base/json_reader.h"
#include "transform/transform.h"
#include <stdbool.h>
#include <stddef.h>

/* ---- message.c: ids that Close does not give ---- */

/* A UUID as text, with its zero byte. */
#define IDENTIFIER_TEXT 37

/* Whether UTF-8 text is empty or nothing but white space, in the sense of Unicode, Go or JavaScript: RudderStack trims
 * with all of them. */
bool identifier_is_blank(const char *text, size_t length);

/* The UUID version 5 over these bytes in this program's own namespace: the same for the same bytes always. */
void identifier_make(const void *bytes, size_t length, unsigned char uuid[static 16]);

/* The same as text, in small letters. */
void identifier_make_text(const void *bytes, size_t length, char text[static IDENTIFIER_TEXT]);

struct parsed {
    struct json_document document;
    struct json_object *event;           /* in the document */
    struct json_object *subscription_id; /* the envelope's, in the document; NULL: none */

    char *name; /* "opportunity updated", owned */
    size_t name_length;
    size_t type_length; /* of it: where the space between object_type and action stands */

    struct json_object *lead; /* usable lead_id; a reference of its own, for `remove` may take it out of the event */
    struct json_object *id;   /* usable id, likewise; NULL: none, as above */

    char anonymous_id[IDENTIFIER_TEXT]; /* where there is no lead */
    char made_id[IDENTIFIER_TEXT];      /* over the body, where there is no id */

    struct identity identity;
    int64_t timestamp_us; /* of the message; DATE_UNREADABLE: none */
    size_t body_length;
};

#endif
