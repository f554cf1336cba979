/* A Close event → the message about the person that goes beside the track message: identify or alias
 * (transform_person of transform.h). */
#include "transform/parsed.h"

#include <json-c/json.h>
#include <stddef.h>
#include <string.h>

#define CUSTOM "custom."
#define PATH_MOST 160 /* bytes of a trait's path; a longer name is no custom field's */

/* A trait, and where it is in data. Of an array's first element: the member of it. */
struct trait {
    const char *name, *of_data, *of_first;
};

static const struct trait lead_traits[] = {{"name", "name", NULL},
                                           {"url", "url", NULL},
                                           {"status_label", "status_label", NULL},
                                           {"addresses", "addresses", NULL}};

/* Under names of their own: a lead is a company with several contacts, and its traits must stay. */
static const struct trait contact_traits[] = {{"contact_id", "id", NULL},
                                              {"contact_name", "name", NULL},
                                              {"contact_email", "emails", "email"},
                                              {"contact_phone", "phones", "phone"},
                                              {"contact_title", "title", NULL}};

static struct json_object *find_value(const struct json_object *data, const struct trait *trait)
{
    struct json_object *value = json_object_object_get(data, trait->of_data);
    if (trait->of_first == NULL || value == NULL)
        return value;
    if (!json_object_is_type(value, json_type_array))
        return NULL;
    value = json_object_array_get_idx(value, 0);
    return json_object_is_type(value, json_type_object) ? json_object_object_get(value, trait->of_first) : NULL;
}

static bool add_traits(struct json_object *traits, const struct json_object *data, const struct trait *wanted,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct json_object *value = find_value(data, &wanted[i]);
        if (value != NULL && !message_add(traits, wanted[i].name, json_object_get(value)))
            return false;
    }
    return true;
}

/* The custom field's name without `custom.`. */
static const char *custom_name(const char *trait)
{
    return strncmp(trait, CUSTOM, strlen(CUSTOM)) == 0 ? trait + strlen(CUSTOM) : trait;
}

/* Custom fields are members `custom.NAME` of data, or members of `custom` in it. */
static bool add_custom_traits(struct json_object *traits, const struct json_object *data, const struct rules *rules)
{
    const struct json_object *custom = json_object_object_get(data, "custom");
    for (size_t i = 0; i < rules->traits; i++) {
        const char *name = custom_name(rules->trait[i]);
        struct json_object *value = NULL;
        char flat[PATH_MOST];
        if (strlen(name) + sizeof CUSTOM <= sizeof flat) {
            memcpy(flat, CUSTOM, sizeof CUSTOM);
            memcpy(flat + strlen(CUSTOM), name, strlen(name) + 1);
            value = json_object_object_get(data, flat);
        }
        if (value == NULL && json_object_is_type(custom, json_type_object))
            value = json_object_object_get(custom, name);
        if (value != NULL && !message_add(traits, name, json_object_get(value)))
            return false;
    }
    return true;
}

/* Whether a member of the event is this text. */
static bool is_text(const struct json_object *event, const char *member, const char *text)
{
    struct json_object *value = json_object_object_get(event, member);
    return json_object_is_type(value, json_type_string) && strcmp(json_object_get_string(value), text) == 0;
}

/* Asks a warehouse to keep what may be no plain text in columns of JSON. Names of custom fields, as the configuration
 * allows them, need no escape. */
static bool add_integrations(struct json_object *message, const struct rules *rules)
{
    struct buffer json = {0};
    if (!rules->json_columns)
        return message_add_integrations(message, rules);
    buffer_text(&json,
                "{\"CloseCRM\":false,\"DATA_WAREHOUSE\":{\"options\":{\"jsonPaths\":[\"identify.traits.addresses\"");
    for (size_t i = 0; i < rules->traits; i++) {
        buffer_text(&json, ",\"identify.traits.");
        buffer_text(&json, custom_name(rules->trait[i]));
        buffer_text(&json, "\"");
    }
    buffer_append(&json, "]}}}", sizeof "]}}}");
    struct json_object *value = json.failed ? NULL : json_object_new_boolean(true);
    if (value == NULL) {
        buffer_free(&json);
        return false;
    }
    json_object_set_serializer(value, json_object_userdata_to_json_string, json.data, json_object_free_userdata);
    return message_add(message, "integrations", value);
}

/* What identify and alias begin with. */
static bool add_head(const struct parsed *parsed, const struct rules *rules, const char *type,
                     struct json_object *message)
{
    return message_add_context(message, rules, parsed->event) && add_integrations(message, rules) &&
           message_add_constant(message, "type", type);
}

/* The traits of a lead's or contact's event; NULL: it has none, or memory is out (*failed). */
static struct json_object *make_traits(const struct parsed *parsed, const struct rules *rules, bool *failed)
{
    bool of_lead = is_text(parsed->event, "object_type", "lead");
    const struct json_object *data = json_object_object_get(parsed->event, "data");
    if ((!of_lead && !is_text(parsed->event, "object_type", "contact")) ||
        is_text(parsed->event, "action", "deleted") || is_text(parsed->event, "action", "merged") ||
        !json_object_is_type(data, json_type_object))
        return NULL;
    struct json_object *traits = json_object_new_object();
    bool good = traits != NULL;
    if (good && of_lead)
        good = add_traits(traits, data, lead_traits, sizeof lead_traits / sizeof *lead_traits) &&
               add_custom_traits(traits, data, rules);
    else if (good)
        good = add_traits(traits, data, contact_traits, sizeof contact_traits / sizeof *contact_traits);
    *failed = !good;
    if (good && json_object_object_length(traits) > 0)
        return traits;
    json_object_put(traits);
    return NULL;
}

static enum person_made make_identify(const struct parsed *parsed, const struct rules *rules,
                                      struct json_object *message)
{
    bool failed = false;
    struct json_object *traits = make_traits(parsed, rules, &failed);
    if (traits == NULL)
        return failed ? PERSON_FAILED : PERSON_NONE;
    if (!add_head(parsed, rules, "\"identify\"", message) ||
        !message_add(message, "userId", json_object_get(parsed->lead)) ||
        !message_add_person_id(message, parsed, "identify")) {
        json_object_put(traits);
        return PERSON_FAILED;
    }
    return message_add(message, "traits", traits) ? PERSON_MADE : PERSON_FAILED;
}

/* Returns a lead's id in the event's meta; NULL: none. */
static struct json_object *find_lead(const struct parsed *parsed, const char *member)
{
    struct json_object *meta = json_object_object_get(parsed->event, "meta");
    struct json_object *id = json_object_is_type(meta, json_type_object) ? json_object_object_get(meta, member) : NULL;
    bool usable = json_object_is_type(id, json_type_string) &&
                  !identifier_is_blank(json_object_get_string(id), (size_t)json_object_get_string_len(id));
    return usable ? id : NULL;
}

static enum person_made make_alias(const struct parsed *parsed, const struct rules *rules, struct json_object *message)
{
    struct json_object *to = find_lead(parsed, "merge_destination_lead_id");
    struct json_object *from = find_lead(parsed, "merge_source_lead_id");
    if (to == NULL || from == NULL || json_object_equal(to, from))
        return PERSON_NONE;
    return message_add_context(message, rules, parsed->event) &&
                   message_add_constant(message, "integrations", "{\"CloseCRM\":false}") &&
                   message_add_constant(message, "type", "\"alias\"") &&
                   message_add(message, "userId", json_object_get(to)) &&
                   message_add(message, "previousId", json_object_get(from)) &&
                   message_add_person_id(message, parsed, "alias")
               ? PERSON_MADE
               : PERSON_FAILED;
}

static bool is_type(const struct parsed *parsed, const char *type)
{
    return parsed->type_length == strlen(type) && memcmp(parsed->name, type, parsed->type_length) == 0;
}

bool person_is_possible(const struct parsed *parsed)
{
    return is_type(parsed, "lead") || is_type(parsed, "contact");
}

enum person_made person_make(const struct parsed *parsed, const struct rules *rules, bool replay,
                             struct json_object *message)
{
    bool merged = is_text(parsed->event, "object_type", "lead") && is_text(parsed->event, "action", "merged");
    if (merged)
        return rules->alias ? make_alias(parsed, rules, message) : PERSON_NONE;
    if (!rules->identify || parsed->lead == NULL || parsed->is_past || replay)
        return PERSON_NONE;
    return make_identify(parsed, rules, message);
}

size_t person_most_bytes(const struct rules *rules)
{
    size_t most = 0;
    for (size_t i = 0; i < rules->traits; i++)
        most += 2 * strlen(rules->trait[i]) + sizeof ",\"identify.traits.\"\"\":";
    return most;
}
