/* Close's filter language: whether the extra_filter of a subscription lets an event pass. See coverage.h. */
#include "closeapi/coverage.h"

#include <json-c/json.h>
#include <string.h>

/* A filter of a known kind, and what is in it. */
static bool passes(struct json_object *filter, struct json_object *value);

static bool is_equal(struct json_object *a, struct json_object *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return strcmp(json_object_to_json_string_ext(a, JSON_C_TO_STRING_PLAIN),
                  json_object_to_json_string_ext(b, JSON_C_TO_STRING_PLAIN)) == 0;
}

static bool passes_equals(struct json_object *filter, struct json_object *value)
{
    return is_equal(json_object_object_get(filter, "value"), value);
}

static bool passes_not_equals(struct json_object *filter, struct json_object *value)
{
    return !passes_equals(filter, value);
}

/* An array holds the value, or a text the words. */
static bool passes_contains(struct json_object *filter, struct json_object *value)
{
    struct json_object *wanted = json_object_object_get(filter, "value");
    if (json_object_is_type(value, json_type_string) && json_object_is_type(wanted, json_type_string))
        return strstr(json_object_get_string(value), json_object_get_string(wanted)) != NULL;
    for (size_t i = 0; json_object_is_type(value, json_type_array) && i < json_object_array_length(value); i++) {
        if (is_equal(json_object_array_get_idx(value, i), wanted))
            return true;
    }
    return false;
}

static bool passes_is_null(struct json_object *filter, struct json_object *value)
{
    (void)filter;
    return value == NULL;
}

static bool passes_non_null(struct json_object *filter, struct json_object *value)
{
    (void)filter;
    return value != NULL;
}

static bool passes_all(struct json_object *filter, struct json_object *value)
{
    struct json_object *filters = json_object_object_get(filter, "filters");
    for (size_t i = 0; json_object_is_type(filters, json_type_array) && i < json_object_array_length(filters); i++) {
        if (!passes(json_object_array_get_idx(filters, i), value))
            return false;
    }
    return true;
}

static bool passes_any(struct json_object *filter, struct json_object *value)
{
    struct json_object *filters = json_object_object_get(filter, "filters");
    for (size_t i = 0; json_object_is_type(filters, json_type_array) && i < json_object_array_length(filters); i++) {
        if (passes(json_object_array_get_idx(filters, i), value))
            return true;
    }
    return false;
}

static bool passes_not(struct json_object *filter, struct json_object *value)
{
    return !passes(json_object_object_get(filter, "filter"), value);
}

static bool passes_field(struct json_object *filter, struct json_object *value)
{
    struct json_object *field = json_object_object_get(filter, "field");
    struct json_object *member = NULL;
    if (json_object_is_type(value, json_type_object) && json_object_is_type(field, json_type_string))
        member = json_object_object_get(value, json_object_get_string(field));
    return passes(json_object_object_get(filter, "filter"), member);
}

static bool passes_any_value(struct json_object *filter, struct json_object *value)
{
    for (size_t i = 0; json_object_is_type(value, json_type_array) && i < json_object_array_length(value); i++) {
        if (passes(json_object_object_get(filter, "filter"), json_object_array_get_idx(value, i)))
            return true;
    }
    return false;
}

struct kind {
    const char *type;
    bool (*passes)(struct json_object *filter, struct json_object *value);
};

/* The kind of a filter; NULL: one that this release does not know. */
static const struct kind *kind_of(struct json_object *filter)
{
    static const struct kind kinds[] = {
        {"equals", passes_equals},
        {"not_equals", passes_not_equals},
        {"contains", passes_contains},
        {"is_null", passes_is_null},
        {"non_null", passes_non_null},
        {"and", passes_all},
        {"or", passes_any},
        {"not", passes_not},
        {"field_accessor", passes_field},
        {"any_array_value", passes_any_value},
    };
    struct json_object *type = json_object_object_get(filter, "type");
    for (size_t i = 0; json_object_is_type(type, json_type_string) && i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(json_object_get_string(type), kinds[i].type) == 0)
            return &kinds[i];
    }
    return NULL;
}

/* Whether it and all in it are of known kinds. */
static bool is_known(struct json_object *filter)
{
    struct json_object *inner = json_object_object_get(filter, "filter");
    struct json_object *inners = json_object_object_get(filter, "filters");
    bool known = kind_of(filter) != NULL && (inner == NULL || is_known(inner));
    for (size_t i = 0; known && json_object_is_type(inners, json_type_array) && i < json_object_array_length(inners);
         i++)
        known = is_known(json_object_array_get_idx(inners, i));
    return known;
}

static bool passes(struct json_object *filter, struct json_object *value)
{
    const struct kind *kind = kind_of(filter);
    return kind == NULL || kind->passes(filter, value);
}

bool filter_passes(struct json_object *filter, struct json_object *value)
{
    return !is_known(filter) || passes(filter, value);
}
