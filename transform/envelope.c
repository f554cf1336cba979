/* What a message says besides the event: where it comes from, and what it asks of the destination. */
#include "transform/parsed.h"

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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
    const char *name, *of_event;
} close_members[] = {
    {"event_id", "id"},
    {"user_id", "user_id"},
    {"organization_id", "organization_id"},
    {"object_type", "object_type"},
    {"object_id", "object_id"},
    {"action", "action"},
    {"request_id", "request_id"},
    {"subscription_id", "subscription_id"},
    {"api_key_id", "api_key_id"},
    {"oauth_client_id", "oauth_client_id"},
    {"date_updated", "date_updated"},
};

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

/* Returns a member of the event that is a string, as all these are; else NULL. */
static struct json_object *find_text(const struct json_object *event, const char *name)
{
    struct json_object *value = json_object_object_get(event, name);
    return json_object_is_type(value, json_type_string) ? value : NULL;
}

/* Adds the members of `close`, which are those of the event. */
static bool add_close(struct json_object *context, struct json_object *event)
{
    struct json_object *close = json_object_new_object();
    if (!message_add(context, "close", close))
        return false;
    for (size_t i = 0; i < sizeof close_members / sizeof *close_members; i++) {
        struct json_object *value = find_text(event, close_members[i].of_event);
        if (value != NULL && !message_add(close, close_members[i].name, json_object_get(value)))
            return false;
    }
    return true;
}

bool envelope_add_context(struct json_object *message, const struct rules *rules, struct json_object *event)
{
    if (!rules->close_context)
        return message_add_constant(message, "context", "{\"library\":" LIBRARY ",\"integration\":" INTEGRATION "}");
    struct json_object *context = json_object_new_object();
    return message_add(message, "context", context) && message_add_constant(context, "library", LIBRARY) &&
           message_add_constant(context, "integration", INTEGRATION) && add_close(context, event);
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

size_t envelope_most_bytes(const struct rules *rules, const struct json_object *event)
{
    size_t most = 0;
    for (size_t i = 0; rules->close_context && i < sizeof close_members / sizeof *close_members; i++) {
        struct json_object *value = find_text(event, close_members[i].of_event);
        most += strlen(close_members[i].name);
        if (value != NULL)
            most += (size_t)json_object_get_string_len(value) * MESSAGE_PRINTED_MOST;
    }
    return most;
}
