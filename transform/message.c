/* A Close event → the track message: which members it has, in which order, and where each comes from
 * (transform_message of transform.h); and what the message about the person (person.c) has in common with it. */
#include "base/json.h"
#include "base/times.h"
#include "transform/parsed.h"
#include "transform/transform.h"

#include <json-c/json.h>
#include <json-c/linkhash.h>
#include <json-c/printbuf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a message says besides the event: where it comes from, and what it asks of the destination ---- */

#define LIBRARY "{\"name\":\"unknown\",\"version\":\"unknown\"}"
#define INTEGRATION "{\"name\":\"CloseCRM\"}"

/* The destination's warehouse keeps these members in one column of JSON each. */
#define JSON_PATHS(paths) "{\"CloseCRM\":false,\"DATA_WAREHOUSE\":{\"options\":{\"jsonPaths\":[" paths "]}}}"
#define DATA "\"track.properties.data\""
#define PREVIOUS_DATA ",\"track.properties.previous_data\""
#define CHANGED_FIELDS ",\"track.properties.changed_fields\""

/* Members of the event that say who did it and which version it is, by their names in context.close. In the properties
 * a warehouse has no column for those that are named like one of its own, such as user_id. */
static const struct {
    const char *of_event, *printed;
} close_members[] = {
    {"id", ",\"event_id\":"},
    {"user_id", ",\"user_id\":"},
    {"organization_id", ",\"organization_id\":"},
    {"object_type", ",\"object_type\":"},
    {"object_id", ",\"object_id\":"},
    {"action", ",\"action\":"},
    {"request_id", ",\"request_id\":"},
    {"subscription_id", ",\"subscription_id\":"},
    {"api_key_id", ",\"api_key_id\":"},
    {"oauth_client_id", ",\"oauth_client_id\":"},
    {"date_updated", ",\"date_updated\":"},
};

#define CLOSE_MEMBERS (sizeof close_members / sizeof *close_members)

bool message_add(struct json_object *object, const char *name, struct json_object *value)
{
    if (value != NULL && json_object_object_add_ex(object, name, value, JSON_C_OBJECT_ADD_CONSTANT_KEY) == 0)
        return true;
    json_object_put(value);
    return false;
}

bool message_add_constant(struct json_object *object, const char *name, const char *json)
{
    struct json_object *value = json_object_new_boolean(true);
    if (value == NULL)
        return false;
    json_object_set_serializer(value, json_object_userdata_to_json_string, (void *)(uintptr_t)json, NULL);
    return message_add(object, name, value);
}

static bool needs_escape(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == '"' || text[i] == '\\')
            return true;
    }
    return false;
}

static int print_text(struct json_object *text, struct printbuf *out)
{
    const char *bytes = json_object_get_string(text);
    size_t length = (size_t)json_object_get_string_len(text);
    if (!needs_escape(bytes, length))
        return json_tree_print_plain(out, bytes, (int)length);
    const char *printed =
        json_object_to_json_string_length(text, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
    return printed == NULL ? -1 : printbuf_memappend(out, printed, (int)length);
}

/* Finds the event's members that are texts, as all these are; NULL: not there. */
static void find_texts(struct json_object *event, struct json_object *found[static CLOSE_MEMBERS])
{
    const struct lh_entry *entry;
    lh_foreach(json_object_get_object(event), entry)
    {
        const char *name = lh_entry_k(entry);
        for (size_t i = 0; i < CLOSE_MEMBERS; i++) {
            if (*name == *close_members[i].of_event && strcmp(name, close_members[i].of_event) == 0)
                found[i] = json_object_is_type(lh_entry_v(entry), json_type_string) ? lh_entry_v(entry) : NULL;
        }
    }
}

/* A json_object_to_json_string_fn that prints the context with `close`, whose members are those of the event in
 * userdata: a tree with all of them would cost several times as much. */
static int print_context(struct json_object *object, struct printbuf *out, int level, int flags)
{
    (void)level;
    (void)flags;
    struct json_object *found[CLOSE_MEMBERS] = {NULL};
    bool first = true;
    find_texts(json_object_get_userdata(object), found);
    printbuf_strappend(out, "{\"library\":" LIBRARY ",\"integration\":" INTEGRATION ",\"close\":{");
    for (size_t i = 0; i < CLOSE_MEMBERS; i++) {
        if (found[i] == NULL)
            continue;
        const char *name = close_members[i].printed + first; /* without the comma */
        first = false;
        printbuf_memappend(out, name, (int)strlen(name));
        if (print_text(found[i], out) < 0)
            return -1;
    }
    return printbuf_strappend(out, "}}");
}

bool message_add_context(struct json_object *message, const struct rules *rules, struct json_object *event)
{
    if (!rules->close_context)
        return message_add_constant(message, "context", "{\"library\":" LIBRARY ",\"integration\":" INTEGRATION "}");
    struct json_object *context = json_object_new_boolean(true);
    if (context != NULL)
        json_object_set_serializer(context, print_context, event, NULL);
    return message_add(message, "context", context);
}

bool message_add_integrations(struct json_object *message, const struct rules *rules)
{
    static const char *const json[2][2] = {
        {JSON_PATHS(DATA), JSON_PATHS(DATA CHANGED_FIELDS)},
        {JSON_PATHS(DATA PREVIOUS_DATA), JSON_PATHS(DATA PREVIOUS_DATA CHANGED_FIELDS)}};
    return message_add_constant(message, "integrations",
                                rules->json_columns ? json[rules->previous_data][rules->changed_fields]
                                                    : "{\"CloseCRM\":false}");
}

/* Upper bound of the printed size of one byte of a string (\u0001 is the longest escape). */
#define PRINTED_MOST 6

/* Upper bound of the bytes that these rules add to a message, beyond what every message has. By all texts that stand
 * directly in the event: looking the wanted ones up would cost more. */
static size_t context_most_bytes(const struct rules *rules, const struct json_object *event)
{
    size_t most = 0;
    if (!rules->close_context)
        return most;
    for (size_t i = 0; i < CLOSE_MEMBERS; i++)
        most += strlen(close_members[i].printed) + sizeof "\"\"";
    const struct lh_entry *entry;
    lh_foreach(json_object_get_object(event), entry)
    {
        struct json_object *value = lh_entry_v(entry);
        if (json_object_is_type(value, json_type_string))
            most += (size_t)json_object_get_string_len(value) * PRINTED_MOST;
    }
    return most;
}

/* ---- the track message ---- */

static bool is_dropped(const struct parsed *parsed, const struct rules *rules, bool *out_of_memory)
{
    if (rules->keeps == 0 && rules->drops == 0)
        return false;
    char *type_action = malloc(parsed->name_length);
    if (type_action == NULL) {
        *out_of_memory = true;
        return false;
    }
    memcpy(type_action, parsed->name, parsed->name_length);
    type_action[parsed->type_length] = '.';
    bool kept = rules_keep(rules, type_action, parsed->name_length);
    free(type_action);
    return !kept;
}

/* A newer version of an event that was already sent needs its own id: the UUID of the earlier id, a line feed, and
 * date_updated in UTC with microseconds (empty if absent). */
static struct json_object *make_newer_id(const struct parsed *parsed, const char *id, size_t length)
{
    char date[DATE_PRINTED] = "";
    if (parsed->identity.updated_us != DATE_UNREADABLE)
        times_print(parsed->identity.updated_us, DATE_MICROSECONDS, date);
    struct buffer name = {0};
    buffer_append(&name, id, length);
    buffer_text(&name, "\n");
    buffer_text(&name, date);
    struct json_object *made = NULL;
    if (!name.failed) {
        char text[IDENTIFIER_TEXT];
        identifier_make_text(name.data, name.length, text);
        made = json_object_new_string(text);
    }
    buffer_free(&name);
    return made;
}

/* By the id as it came: ids that replacing U+0000 or lone surrogates would make equal stay as many. */
static struct json_object *make_message_id(const struct parsed *parsed, const struct rules *rules, bool newer_version)
{
    const char *id = parsed->made_id;
    size_t length = strlen(id);
    bool as_it_came = true;
    if (parsed->id != NULL) {
        id = json_tree_exact(parsed->id, &length);
        as_it_came = id == json_object_get_string(parsed->id) && (rules->keep_nul || strlen(id) == length);
    }
    if (newer_version)
        return make_newer_id(parsed, id, length);
    if (!as_it_came) {
        char made[IDENTIFIER_TEXT];
        identifier_make_text(id, length, made);
        return json_object_new_string(made);
    }
    return parsed->id != NULL ? json_object_get(parsed->id) : json_object_new_string(id);
}

static bool add_person(const struct parsed *parsed, struct json_object *message)
{
    if (parsed->lead != NULL)
        return message_add(message, "userId", json_object_get(parsed->lead));
    return message_add(message, "anonymousId", json_object_new_string(parsed->anonymous_id));
}

static bool add_timestamp(const struct parsed *parsed, struct json_object *message)
{
    char date[DATE_PRINTED];
    return parsed->timestamp_us == DATE_UNREADABLE ||
           message_add(message, "originalTimestamp",
                       json_object_new_string(times_print(parsed->timestamp_us, DATE_MILLISECONDS, date)));
}

/* Adds the subscription's id to the event, and takes out what the rules remove. */
static bool prepare_event(const struct parsed *parsed, const struct rules *rules)
{
    if (parsed->subscription_id != NULL &&
        !message_add(parsed->event, "subscription_id", json_object_get(parsed->subscription_id)))
        return false;
    rules_remove(rules, parsed->event);
    return true;
}

static bool add_members(struct parsed *parsed, const struct rules *rules, bool newer_version,
                        struct json_object *message)
{
    parsed->message_id = make_message_id(parsed, rules, newer_version);
    return prepare_event(parsed, rules) && message_add_context(message, rules, parsed->event) &&
           message_add_integrations(message, rules) && message_add_constant(message, "type", "\"track\"") &&
           message_add(message, "event", json_object_new_string_len(parsed->name, (int)parsed->name_length)) &&
           add_person(parsed, message) && message_add(message, "messageId", json_object_get(parsed->message_id)) &&
           add_timestamp(parsed, message) && message_add(message, "properties", json_object_get(parsed->event));
}

/* Replaces what the message must not hold. A body without any, which nearly all are, costs nothing. The event's id,
 * from which the messageId is made, is needed as it came. */
static bool replace_nuls(struct parsed *parsed, const struct rules *rules, struct json_object *message)
{
    return rules->keep_nul || parsed->document.nuls == 0 || nul_replace(message, &parsed->texts_replaced);
}

static size_t string_length(struct json_object *string)
{
    return string == NULL ? 0 : (size_t)json_object_get_string_len(string);
}

/* Upper bound of the bytes of a message's own names, constants, date and made ids. */
#define OWN_BYTES 1024

/* Upper bound of the message's size. Properties print no longer than in the body, because json-c prints the shortest
 * form; name, user and id occur a second time. */
static size_t most_bytes(const struct parsed *parsed, const struct rules *rules)
{
    size_t again = parsed->name_length + string_length(parsed->lead) + string_length(parsed->id);
    return parsed->body_length + again * PRINTED_MOST + OWN_BYTES + context_most_bytes(rules, parsed->event);
}

/* A json_object_to_json_string_fn that prints nothing but reserves as many bytes as userdata points to. */
static int make_room(struct json_object *object, struct printbuf *out, int level, int flags)
{
    (void)level;
    (void)flags;
    const size_t *bytes = json_object_get_userdata(object);
    return printbuf_memset(out, 0, '\0', (int)*bytes) < 0 ? -1 : 0;
}

/* Prints the message, of so many bytes at most. json-c ignores failures to grow its buffer while printing and would
 * silently omit what does not fit. An object keeps its buffer between printings, so a first one that prints nothing
 * makes the buffer large enough, or fails. That also avoids growing it step by step. */
static bool print_message(struct json_object *message, size_t most, struct buffer *out)
{
    json_object_set_serializer(message, make_room, &most, NULL);
    bool roomy = json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN) != NULL;
    json_object_set_serializer(message, NULL, NULL, NULL);
    if (!roomy)
        return false;
    size_t length;
    int flags = JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE;
    const char *text = json_object_to_json_string_length(message, flags, &length);
    if (text == NULL || out->failed)
        return false;
    buffer_append(out, text, length);
    bool appended = !out->failed;
    out->failed = false; /* out lost nothing that was there before */
    return appended;
}

bool message_add_person_id(struct json_object *message, const struct parsed *parsed, const char *kind)
{
    struct json_object *of_event = parsed->message_id;
    struct buffer name = {0};
    char id[IDENTIFIER_TEXT];
    buffer_append(&name, json_object_get_string(of_event), (size_t)json_object_get_string_len(of_event));
    buffer_text(&name, "\n");
    buffer_text(&name, kind);
    bool good = !name.failed;
    if (good)
        identifier_make_text(name.data, name.length, id);
    buffer_free(&name);
    return good && message_add(message, "messageId", json_object_new_string(id)) && add_timestamp(parsed, message);
}

enum transform_result transform_person(const struct parsed *parsed, const struct rules *rules, bool replay,
                                       struct buffer *out)
{
    if ((!rules->identify && !rules->alias) || !person_is_possible(parsed))
        return TRANSFORM_DROPPED;
    struct json_object *message = json_object_new_object();
    enum person_made made = message == NULL ? PERSON_FAILED : person_make(parsed, rules, replay, message);
    if (made == PERSON_MADE && !print_message(message, most_bytes(parsed, rules) + person_most_bytes(rules), out))
        made = PERSON_FAILED;
    json_object_put(message);
    return made == PERSON_MADE ? TRANSFORM_OK : made == PERSON_NONE ? TRANSFORM_DROPPED : TRANSFORM_FAILED;
}

enum transform_result transform_message(struct parsed *parsed, const struct rules *rules, bool newer_version,
                                        struct buffer *out)
{
    bool out_of_memory = false;
    if (is_dropped(parsed, rules, &out_of_memory))
        return TRANSFORM_DROPPED;
    if (out_of_memory)
        return TRANSFORM_FAILED;
    struct json_object *message = json_object_new_object();
    bool made = message != NULL && add_members(parsed, rules, newer_version, message) &&
                replace_nuls(parsed, rules, message) && print_message(message, most_bytes(parsed, rules), out);
    json_object_put(message);
    return made ? TRANSFORM_OK : TRANSFORM_FAILED;
}
