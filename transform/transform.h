/* A Close webhook's body → a RudderStack track message. Pure: no I/O, no clock, no globals; any thread, each with its
 * own struct parsed. */
#ifndef TRANSFORM_TRANSFORM_H
#define TRANSFORM_TRANSFORM_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

/* Member of the envelope, beside `event`: true where this program fetched the event from Close's Event Log. */
#define EVENT_LOG_MARK "from_event_log"

/* A body parsed as a Close event. */
struct parsed;

/* Rules for ids. userId is the event's lead_id; without a usable one, anonymousId is made from object_id, else
 * organization_id, else id, else the body. messageId is the event's id, else made from the body; for a newer version it
 * is made from that id, a line feed and date_updated in UTC with microseconds. It is also made from an id that a
 * message cannot hold as it came: with a lone surrogate; with U+0000, unless keep_nul. Ids are made as version 5 UUIDs
 * in this program's namespace (message.c), of texts as they came (json_tree_exact). Usable: a string that is not blank.
 */

/* Identifies an event across deliveries, and orders its versions. */
struct identity {
    unsigned char key[16]; /* UUIDv5 of the event's id; without a usable one, of the whole body */
    int64_t updated_us;    /* date_updated, Unix time in microseconds; INT64_MIN when absent or unreadable */
};

/* The operator's rules for a source. Borrowed: they must outlive the call. */
struct rules {
    char *const *keep; /* object_type.action patterns, `*` for any run of characters; empty: all are kept */
    size_t keeps;
    char *const *drop;
    size_t drops;
    char *const *remove; /* exact paths below the event, such as data.body_html: see the rules below */
    size_t removes;

    bool keep_nul;      /* U+0000 stays in texts, and in names makes a body unusable; else it becomes U+FFFD in both */
    bool json_columns;  /* the message asks a warehouse to keep data, and the next two, in a column of JSON each */
    bool close_context; /* context.close says who did it, and of which event this is a version */
    bool previous_data; /* the message has this member of the event, as the next one; else it is left out */
    bool changed_fields;

    bool identify;      /* transform_person makes an identify of a lead's or contact's event */
    bool alias;         /* and an alias of lead.merged */
    char *const *trait; /* custom fields of a lead that are traits, `cf_...` or `custom.cf_...` */
    size_t traits;
};

enum transform_result {
    TRANSFORM_OK,      /* the message was appended to out */
    TRANSFORM_DROPPED, /* excluded by keep or drop: nothing was appended */
    TRANSFORM_FAILED,  /* out of memory: nothing was appended; try again later */
};

/* Parses a body: strict RFC 8259 and UTF-8, depth 512, an object whose `event` is an object with a non-blank
 * object_type and action. The body is borrowed during the call. Returns the event, to be freed with parsed_free; NULL
 * with the reason and byte offset. *out_of_memory (may be NULL) is true when memory ran out, and the body may be tried
 * again. */
struct parsed *transform_parse(const char *body, size_t length, bool *out_of_memory, struct error *why);

/* The same for a message by these rules (NULL: none): call transform_message with the same ones. */
struct parsed *transform_parse_for(const char *body, size_t length, const struct rules *rules, bool *out_of_memory,
                                   struct error *why);

/* Key facts of an event that is already a tree. The texts belong to the tree. */
struct event_head {
    const char *object_type;
    const char *action;
    struct identity identity;
    bool identified; /* has a usable id; else identity.key is not set, since it is a hash of the body */
};

/* Reads the key facts. Returns false with the reason where transform_parse would refuse a body with this event. */
bool transform_read_head(struct json_object *event, struct event_head *head, struct error *why);

const struct identity *transform_identity(const struct parsed *parsed);

/* The lead's id, NUL-terminated, valid as long as parsed; NULL when the event has no usable lead_id. */
const char *transform_lead(const struct parsed *parsed);

/* The ordering key: the lead, else the anonymousId. Never NULL; valid as long as parsed. */
const char *transform_ordering_key(const struct parsed *parsed);

/* "opportunity updated"; valid as long as parsed. */
const char *transform_event_name(const struct parsed *parsed);

/* The event's id for logs, NULL when it has no usable one; valid as long as parsed. */
const char *transform_event_id(const struct parsed *parsed);

/* The number of lone surrogates replaced by U+FFFD in this body. */
size_t transform_replaced(const struct parsed *parsed);

/* The number of names and texts of the message in which U+0000 was replaced. Call after transform_message. */
size_t transform_nuls(const struct parsed *parsed);

/* Appends the message to out: one JSON object without a newline. newer_version: an older version was already sent, so
 * the messageId must differ. Call at most once per parsed, since it takes the tree apart. Deterministic: equal
 * arguments give the same bytes. */
enum transform_result transform_message(struct parsed *parsed, const struct rules *rules, bool newer_version,
                                        struct buffer *out);

/* Appends the message about the person that goes beside the track message: an identify or an alias. Call after
 * transform_message, with the same rules. replay: it is a dead letter's: no identify, since newer traits may have been
 * sent. TRANSFORM_DROPPED: there is none for this event. Deterministic, too. */
enum transform_result transform_person(const struct parsed *parsed, const struct rules *rules, bool replay,
                                       struct buffer *out);

void parsed_free(struct parsed *parsed);

/* ---- The operator's rules: which events are sent, and which members are removed from them. ---- */

/* Whether an event is sent: a pattern of keep matches its `object_type.action` (or keep is empty), and no pattern of
 * drop does. */
bool rules_keep(const struct rules *rules, const char *type_action, size_t length);

/* Removes the members named by the rules from the event. A path's steps are names joined by dots; names may contain
 * dots themselves, so `data.custom.cf_abc` removes both the member `custom.cf_abc` of data and cf_abc of data's custom.
 * A step into an array applies to each element. What is
 * removed from data is removed from previous_data too. Missing members are no error. */
void rules_remove(const struct rules *rules, struct json_object *event);

/* Whether a path names data or a member of it: previous_data has the same members. */
bool rules_is_of_data(const char *path);

#endif
