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

/* A body that was read and understood as a Close event. */
struct parsed;

/* Ids that Close does not give are made: UUID version 5 in a namespace of this program (message.c). userId is the
 * event's lead_id; without a usable one anonymousId is made over object_id, else organization_id, else id, else the
 * body. messageId is the event's id, else made over the body; for a newer version it is made over that id, a line feed
 * and date_updated in UTC with microseconds. Usable is a string that is not blank. */

/* What makes two deliveries the same event, and which of them is newer. */
struct identity {
    unsigned char key[16]; /* UUIDv5 over the event's id; without a usable one, over the whole body */
    int64_t updated_us; /* date_updated as an instant, Unix time in microseconds; INT64_MIN when absent or unreadable */
};

/* The operator's choices for a source. Borrowed: they must outlive the call. */
struct rules {
    char *const *keep; /* object_type.action patterns, `*` for any run of characters; none: all are kept */
    size_t keeps;
    char *const *drop;
    size_t drops;
    char *const *remove; /* exact paths below the event, such as data.body_html: see rules.h */
    size_t removes;
};

enum transform_result {
    TRANSFORM_OK,      /* the message was appended to out */
    TRANSFORM_DROPPED, /* keep or drop say so: nothing was appended */
    TRANSFORM_FAILED,  /* out of memory: nothing was appended; try again later */
};

/* Reads a body: strict RFC 8259 and UTF-8, depth 512, an object whose `event` is an object with a non-blank
 * object_type and action. The body is only borrowed during the call.
 * Returns what was read, to be freed with parsed_free; NULL with the reason and the byte where it is. *out_of_memory
 * (may be NULL) tells whether the reason is memory, and the body may be tried again. */
struct parsed *transform_parse(const char *body, size_t length, bool *out_of_memory, struct error *why);

/* What an event is, of one that stands in a tree already. Texts belong to the tree. */
struct event_head {
    const char *object_type;
    const char *action;
    struct identity identity;
    bool identified; /* it has a usable id; else the key is not set: it is over the body, which transform_parse has */
};

/* Reads it. Returns false with the reason where the webhook's body with this event would be refused, too. */
bool transform_read_head(struct json_object *event, struct event_head *head, struct error *why);

const struct identity *transform_identity(const struct parsed *parsed);

/* The lead, as a NUL-terminated string that lives as long as parsed; NULL where the event has no usable lead_id. */
const char *transform_lead(const struct parsed *parsed);

/* What keeps events in order: the lead, and without one the anonymousId. Never NULL; lives as long as parsed. */
const char *transform_person(const struct parsed *parsed);

/* "opportunity updated"; lives as long as parsed. */
const char *transform_event_name(const struct parsed *parsed);

/* The event's own id for logs, or NULL where it has no usable one; lives as long as parsed. */
const char *transform_event_id(const struct parsed *parsed);

/* Lone surrogates that became U+FFFD while this body was read. */
size_t transform_replaced(const struct parsed *parsed);

/* Appends the message to out: one JSON object without a newline. newer_version: a version with an older date_updated
 * was sent already, so the messageId must differ from that one's. May be called once per parsed (it takes the tree
 * apart). The same body, rules and newer_version give the same bytes always. */
enum transform_result transform_message(struct parsed *parsed, const struct rules *rules, bool newer_version,
                                        struct buffer *out);

void parsed_free(struct parsed *parsed);

#endif
