/* What subscriptions cover, by event type and by Close's filter language: see subscriptions.h. */
#include "closeapi/subscriptions.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* ---- Close's filter language: whether the extra_filter of a subscription lets an event pass. Each kind of filter has
 * a function, which gets the filter and the value that it is about; NULL is null, or no value. ---- */

typedef bool filter_function(struct json_object *filter, struct json_object *value);

static filter_function filter_kind_passes;

static bool are_equal(struct json_object *a, struct json_object *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return strcmp(json_object_to_json_string_ext(a, JSON_C_TO_STRING_PLAIN),
                  json_object_to_json_string_ext(b, JSON_C_TO_STRING_PLAIN)) == 0;
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

/* ---- coverage ---- */

/* ---- which subscriptions are the source's ---- */

static void add_subscription(struct coverage *coverage, const struct subscription *subscription)
{
    if (coverage->count < SUBSCRIPTIONS_MOST)
        coverage->at[coverage->count++] = subscription;
}

static bool is_key_held(const struct keyring *held, const struct source *source, const char *id)
{
    for (size_t i = 0; i < held->count; i++) {
        if (strcmp(held->at[i].source, source->name) == 0 && strcmp(held->at[i].subscription, id) == 0)
            return true;
    }
    return false;
}

static bool has_key_of(const struct source *source, const struct subscription *subscription)
{
    for (size_t i = 0; i < source->signature_keys; i++) {
        char hex[2 * KEYRING_BYTES + 1] = "";
        const struct signature_key *key = &source->signature_key[i];
        text_hex_encode(key->bytes, key->length < KEYRING_BYTES ? key->length : KEYRING_BYTES, hex);
        bool same = strcasecmp(hex, subscription->signature_key) == 0;
        explicit_bzero(hex, sizeof hex);
        if (same)
            return true;
    }
    return false;
}

/* Whether the address's path ends with /NAME. */
static bool names_source(const struct source *source, const char *url)
{
    size_t length = strcspn(url, "?#"), name = strlen(source->name);
    while (length > 0 && url[length - 1] == '/')
        length--;
    return length > name && url[length - name - 1] == '/' && memcmp(url + length - name, source->name, name) == 0;
}

bool coverage_find(struct coverage *coverage, const struct subscriptions *list, const struct source *source,
                   size_t sources, const struct keyring *held, struct error *why)
{
    *coverage = (struct coverage){.count = 0};
    for (size_t i = 0; i < list->count; i++) {
        if (is_key_held(held, source, list->at[i].id))
            add_subscription(coverage, &list->at[i]);
    }
    for (size_t i = 0; coverage->count == 0 && i < list->count; i++) {
        if (has_key_of(source, &list->at[i]))
            add_subscription(coverage, &list->at[i]);
    }
    if (coverage->count > 0)
        return true;
    for (size_t i = 0; i < list->count; i++) {
        if (names_source(source, list->at[i].url))
            add_subscription(coverage, &list->at[i]);
    }
    if (coverage->count == 0 && list->count == 1 && sources == 1)
        add_subscription(coverage, &list->at[0]);
    if (list->count == 0)
        error_set(why, "Close has no subscription: make one with `closecrm.fcgi subscribe --source %s --url URL`",
                  source->name);
    else if (coverage->count == 0)
        error_set(why,
                  "it cannot be told which of the %zu subscriptions in Close are source %s's: make one with "
                  "`closecrm.fcgi subscribe --source %s --url URL`",
                  list->count, source->name, source->name);
    return coverage->count > 0;
}

/* Whether requests to this URL carry the write key, which authenticates them where there is no signature key. */
static bool brings_write_key(const char *url)
{
    return strcasestr(url, "writeKey=") != NULL || strchr(url, '@') != NULL;
}

static bool is_address_covered(const struct coverage *coverage, const struct subscription *subscription)
{
    for (size_t i = 0; i < coverage->count; i++) {
        if (coverage->at[i] == subscription || subscription_same_url(coverage->at[i]->url, subscription->url))
            return true;
    }
    return false;
}

const struct subscription *coverage_keyless(const struct coverage *coverage, const struct subscriptions *list,
                                            const struct source *source, const struct keyring *held)
{
    for (size_t i = 0; i < list->count && source->signature_keys == 0; i++) {
        const struct subscription *one = &list->at[i];
        if (!brings_write_key(one->url) && !is_key_held(held, source, one->id) && is_address_covered(coverage, one))
            return one;
    }
    return NULL;
}

void coverage_keyless_words(const struct subscription *subscription, const struct source *source, struct error *words)
{
    error_set(words,
              "the key of subscription %.79s is not held here, so that what it sends is refused: closecrm.fcgi rotate "
              "--source %.64s %.79s makes a new one",
              subscription->id, source->name, subscription->id);
}

/* ---- which events they cover ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_event_name(struct json_object *covered, char out[static 160])
{
    struct json_object *type = json_object_object_get(covered, "object_type");
    struct json_object *action = json_object_object_get(covered, "action");
    snprintf(out, 160, "%.70s.%.70s%s", json_object_get_string(type), json_object_get_string(action),
             json_object_object_get(covered, "extra_filter") != NULL ? "*" : "");
}

/* A place among the events that the subscriptions have; all zero: before the first. */
struct covered_place {
    size_t subscription, event;
};

/* Sets *covered to the next one. Returns false when there is none. */
static bool next_covered_event(const struct coverage *coverage, struct covered_place *place,
                               struct json_object **covered)
{
    for (; place->subscription < coverage->count; place->subscription++, place->event = 0) {
        struct json_object *events = json_object_object_get(coverage->at[place->subscription]->json, "events");
        if (json_object_is_type(events, json_type_array) && place->event < json_object_array_length(events)) {
            *covered = json_object_array_get_idx(events, place->event++);
            return true;
        }
    }
    return false;
}

static size_t count_covered_events(const struct coverage *coverage)
{
    size_t count = 0;
    struct json_object *covered;
    for (struct covered_place place = {0}; next_covered_event(coverage, &place, &covered);)
        count++;
    return count;
}

void coverage_describe(const struct coverage *coverage, struct buffer *out)
{
    size_t most = count_covered_events(coverage), count = 0;
    char **names = calloc(most + 1, sizeof *names);
    struct json_object *covered;
    out->failed = out->failed || names == NULL;
    for (struct covered_place place = {0}; names != NULL && next_covered_event(coverage, &place, &covered);) {
        char name[160];
        print_event_name(covered, name);
        names[count] = strdup(name);
        count += names[count] != NULL;
    }
    if (names != NULL)
        qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && strcmp(names[i], names[i - 1]) == 0)
            continue;
        buffer_text(out, i > 0 ? " " : "");
        buffer_text(out, names[i]);
    }
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

bool coverage_has_type(const struct coverage *coverage, const char *name)
{
    struct json_object *covered;
    for (struct covered_place place = {0}; next_covered_event(coverage, &place, &covered);) {
        char one[160];
        print_event_name(covered, one);
        if (strncmp(one, name, strlen(name)) == 0 && strspn(one + strlen(name), "*") == strlen(one + strlen(name)))
            return true;
    }
    return false;
}

bool coverage_add_types(const struct coverage *coverage, struct event_choice *types)
{
    struct json_object *covered;
    for (struct covered_place place = {0}; next_covered_event(coverage, &place, &covered);) {
        struct event_type type = {json_object_get_string(json_object_object_get(covered, "object_type")),
                                  json_object_get_string(json_object_object_get(covered, "action"))};
        if (type.object_type != NULL && type.action != NULL && !event_choice_add(types, &type))
            return false;
    }
    return true;
}

/* The name in the list; NULL: it is not there. */
static char *find_in_list(char *list, const char *name)
{
    size_t length = strlen(name);
    for (char *at = list; (at = strstr(at, name)) != NULL; at += length) {
        if ((at == list || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return at;
    }
    return NULL;
}

void coverage_list_add(char *list, size_t size, const char *name)
{
    size_t used = strlen(list);
    if (name[0] == '\0' || strpbrk(name, " \n") != NULL || find_in_list(list, name) != NULL ||
        used + strlen(name) + 2 > size)
        return;
    snprintf(list + used, size - used, "%s%s", used > 0 ? " " : "", name);
}

void coverage_list_reduce(const struct coverage *coverage, char *list)
{
    size_t left = 0;
    for (char *rest = list, *end; *rest != '\0'; rest = end) {
        char name[160];
        size_t length = strcspn(rest, " ");
        end = rest + length + strspn(rest + length, " ");
        snprintf(name, sizeof name, "%.*s", (int)length, rest);
        if (length >= sizeof name || coverage_has_type(coverage, name))
            continue;
        if (left > 0)
            list[left++] = ' ';
        memmove(list + left, rest, length);
        left += length;
    }
    list[left] = '\0';
}
