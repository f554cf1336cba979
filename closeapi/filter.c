/* Close's filter language: whether the extra_filter of a subscription lets an event pass. See coverage.h. Each kind of
 * filter has a function, which gets the filter and the value that it is about; NULL is null, or no value. */
#include "closeapi/coverage.h"

#include <json-c/json.h>
#include <string.h>

typedef bool filter_function(struct json_object *filter, struct json_object *value);

static filter_function filter_kind_passes;

static bool are_equal(struct json_object *a, struct json_object *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    const char *first = json_object_to_json_string_ext(a, JSON_C_TO_STRING_PLAIN);
    const char *second = json_object_to_json_string_ext(b, JSON_C_TO_STRING_PLAIN);
    if (first == NULL || second == NULL)
        return json_object_equal(a, b) != 0; /* without memory: numbers by value, and not as they are spelt */
    return strcmp(first, second) == 0;
}

/* Of what is no array: 0. */
static size_t length_of(struct json_object *array)
{
    return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

static bool filter_equals(struct json_object *filter, struct json_object *value)
{
    return are_equal(json_object_object_get(filter, "value"), value);
}

static bool filter_not_equals(struct json_object *filter, struct json_object *value)
{
    return !filter_equals(filter, value);
}

/* An array holds the value, or a text the words. */
static bool filter_contains(struct json_object *filter, struct json_object *value)
{
    struct json_object *wanted = json_object_object_get(filter, "value");
    if (json_object_is_type(value, json_type_string) && json_object_is_type(wanted, json_type_string))
        return strstr(json_object_get_string(value), json_object_get_string(wanted)) != NULL;
    for (size_t i = 0; i < length_of(value); i++) {
        if (are_equal(json_object_array_get_idx(value, i), wanted))
            return true;
    }
    return false;
}

static bool filter_is_null(struct json_object *filter, struct json_object *value)
{
    (void)filter;
    return value == NULL;
}

static bool filter_non_null(struct json_object *filter, struct json_object *value)
{
    (void)filter;
    return value != NULL;
}

static bool filter_and(struct json_object *filter, struct json_object *value)
{
    struct json_object *filters = json_object_object_get(filter, "filters");
    for (size_t i = 0; i < length_of(filters); i++) {
        if (!filter_kind_passes(json_object_array_get_idx(filters, i), value))
            return false;
    }
    return true;
}

static bool filter_or(struct json_object *filter, struct json_object *value)
{
    struct json_object *filters = json_object_object_get(filter, "filters");
    for (size_t i = 0; i < length_of(filters); i++) {
        if (filter_kind_passes(json_object_array_get_idx(filters, i), value))
            return true;
    }
    return false;
}

static bool filter_not(struct json_object *filter, struct json_object *value)
{
    return !filter_kind_passes(json_object_object_get(filter, "filter"), value);
}

static bool filter_field_accessor(struct json_object *filter, struct json_object *value)
{
    struct json_object *field = json_object_object_get(filter, "field");
    struct json_object *member = NULL;
    if (json_object_is_type(value, json_type_object) && json_object_is_type(field, json_type_string))
        member = json_object_object_get(value, json_object_get_string(field));
    return filter_kind_passes(json_object_object_get(filter, "filter"), member);
}

static bool filter_any_array_value(struct json_object *filter, struct json_object *value)
{
    for (size_t i = 0; i < length_of(value); i++) {
        if (filter_kind_passes(json_object_object_get(filter, "filter"), json_object_array_get_idx(value, i)))
            return true;
    }
    return false;
}

/* The function of a filter; NULL: of a kind that this release does not know. */
static filter_function *filter_function_of(struct json_object *filter)
{
    static const struct {
        const char *type;
        filter_function *function;
    } kinds[] = {
        {"equals", filter_equals},
        {"not_equals", filter_not_equals},
        {"contains", filter_contains},
        {"is_null", filter_is_null},
        {"non_null", filter_non_null},
        {"and", filter_and},
        {"or", filter_or},
        {"not", filter_not},
        {"field_accessor", filter_field_accessor},
        {"any_array_value", filter_any_array_value},
    };
    struct json_object *type = json_object_object_get(filter, "type");
    for (size_t i = 0; json_object_is_type(type, json_type_string) && i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(json_object_get_string(type), kinds[i].type) == 0)
            return kinds[i].function;
    }
    return NULL;
}

static bool filter_kind_passes(struct json_object *filter, struct json_object *value)
{
    filter_function *function = filter_function_of(filter);
    return function == NULL || function(filter, value);
}

/* Whether it and all in it are of known kinds. */
static bool filter_is_known(struct json_object *filter)
{
    struct json_object *inner = json_object_object_get(filter, "filter");
    struct json_object *inners = json_object_object_get(filter, "filters");
    bool known = filter_function_of(filter) != NULL && (inner == NULL || filter_is_known(inner));
    for (size_t i = 0; known && i < length_of(inners); i++)
        known = filter_is_known(json_object_array_get_idx(inners, i));
    return known;
}

bool filter_passes(struct json_object *filter, struct json_object *value)
{
    return !filter_is_known(filter) || filter_kind_passes(filter, value);
}
