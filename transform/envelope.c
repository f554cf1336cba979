/* What a message says besides the event: where it comes from, and what it asks of the destination. */
#include "transform/parsed.h"

#include <json-c/json.h>
#include <json-c/linkhash.h>
#include <json-c/printbuf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/json_tree.h"

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

bool envelope_add_context(struct json_object *message, const struct rules *rules, struct json_object *event)
{
    if (!rules->close_context)
        return message_add_constant(message, "context", "{\"library\":" LIBRARY ",\"integration\":" INTEGRATION "}");
    struct json_object *context = json_object_new_boolean(true);
    if (context != NULL)
        json_object_set_serializer(context, print_context, event, NULL);
    return message_add(message, "context", context);
}

bool envelope_add_integrations(struct json_object *message, const struct rules *rules)
{
    static const char *const json[2][2] = {
        {JSON_PATHS(DATA), JSON_PATHS(DATA CHANGED_FIELDS)},
        {JSON_PATHS(DATA PREVIOUS_DATA), JSON_PATHS(DATA PREVIOUS_DATA CHANGED_FIELDS)}};
    return message_add_constant(message, "integrations",
                                rules->json_columns ? json[rules->previous_data][rules->changed_fields]
                                                    : "{\"CloseCRM\":false}");
}

/* By all texts that stand directly in the event: looking the wanted ones up would cost more. */
size_t envelope_most_bytes(const struct rules *rules, const struct json_object *event)
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
            most += (size_t)json_object_get_string_len(value) * MESSAGE_PRINTED_MOST;
    }
    return most;
}
