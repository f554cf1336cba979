/* The result of transform_parse, input of transform_message. Private to these two. */
#ifndef TRANSFORM_PARSED_H
#define TRANSFORM_PARSED_H

#include <json-c/json_object.h>

#include "base/json.h"
#include "transform/transform.h"
#include <stdbool.h>
#include <stddef.h>

/* ---- transform.c: ids that Close does not give ---- */

/* Bytes of a UUID as text, with its NUL. */
#define IDENTIFIER_TEXT 37

/* Whether UTF-8 text is empty or only white space as defined by Unicode, Go or JavaScript, because RudderStack trims
 * with all three. */
bool identifier_is_blank(const char *text, size_t length);

/* Computes a version 5 UUID of these bytes in this program's namespace: equal bytes always give the same UUID. */
void identifier_make(const void *bytes, size_t length, unsigned char uuid[static 16]);

/* The same of a string's bytes as they came: strings that replacing would make equal have UUIDs of their own. */
void identifier_make_of(struct json_object *string, unsigned char uuid[static 16]);

/* As identifier_make, as lower-case text. */
void identifier_make_text(const void *bytes, size_t length, char text[static IDENTIFIER_TEXT]);

/* ---- transform.c: U+0000 ---- */

/* Makes every U+0000 in the value's texts, and in those of its arrays and objects, U+FFFD; *count counts the texts.
 * Returns false when out of memory. */
bool nul_replace(struct json_object *value, size_t *count);

/* ---- message.c, too: what track, identify and alias have in common ---- */

/* Adds a member and takes ownership of its value, also on failure. value NULL: its creation failed. name must outlive
 * the object. Returns false when out of memory, as the others here. */
bool message_add(struct json_object *object, const char *name, struct json_object *value);

/* Adds a member that prints as this JSON text, which must outlive the object: building what is the same in every
 * message as a tree would cost more than all else. */
bool message_add_constant(struct json_object *object, const char *name, const char *json);

/* Adds `context`, with close_context what it takes from the event when it is printed: the event is borrowed, and what
 * the rules remove must be gone from it. */
bool message_add_context(struct json_object *message, const struct rules *rules, struct json_object *event);

/* Adds `integrations`. */
bool message_add_integrations(struct json_object *message, const struct rules *rules);

/* Adds, to a message about the person, the messageId, made over the event's, and the timestamp. kind: "identify". */
bool message_add_person_id(struct json_object *message, const struct parsed *parsed, const char *kind);

/* ---- person.c: identify and alias ---- */

enum person_made { PERSON_MADE, PERSON_NONE, PERSON_FAILED }; /* FAILED: out of memory */

/* Whether an event of this type can have one: cheap, for most have none. */
bool person_is_possible(const struct parsed *parsed);

/* Adds the members of the message about the person. What the rules remove must be gone from the event. */
enum person_made person_make(const struct parsed *parsed, const struct rules *rules, bool replay,
                             struct json_object *message);

/* Upper bound of the bytes that these rules add to it, beyond what is in the event. */
size_t person_most_bytes(const struct rules *rules);

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
    int64_t timestamp_us;           /* the message's timestamp; DATE_UNREADABLE: none */
    struct json_object *message_id; /* of the track message, once it is made; owned */
    bool is_past;                   /* the envelope says that it came from the Event Log */
    size_t body_length;
    size_t texts_replaced; /* texts in which transform_message replaced U+0000 */
};

#endif
