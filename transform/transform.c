/* Parses a webhook's body as a Close event: type, lead, version; applies the operator's rules to its type and its
 * members. See transform.h. */
#include "transform/transform.h"

#include <json-c/json.h>
#include <json-c/linkhash.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "base/buffer.h"
#include "base/times.h"
#include "transform/parsed.h"

/* ---- the operator's rules ---- */

/* Whether the pattern matches the whole text; `*` matches any run of characters, also an empty one. On a mismatch the
 * last star takes one more character, which finds a match if one exists. */
static bool matches(const char *pattern, const char *text, size_t length)
{
    const char *end = text + length;
    const char *star = NULL;
    const char *taken = NULL;
    while (text < end) {
        if (*pattern == '*') {
            star = pattern++;
            taken = text;
        } else if (*pattern != '\0' && *pattern == *text) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++taken;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static bool matches_any(char *const *patterns, size_t count, const char *text, size_t length)
{
    for (size_t i = 0; i < count; i++) {
        if (matches(patterns[i], text, length))
            return true;
    }
    return false;
}

bool rules_keep(const struct rules *rules, const char *type_action, size_t length)
{
    if (rules->keeps > 0 && !matches_any(rules->keep, rules->keeps, type_action, length))
        return false;
    return !matches_any(rules->drop, rules->drops, type_action, length);
}

#define PREVIOUS "previous_"

static void remove_path(struct json_object *value, const char *path);

/* Removes the members whose name, behind `before`, is the whole path, and descends into those where it is a prefix of
 * it. */
static void remove_from_object(struct lh_table *members, const char *before, const char *path)
{
    struct lh_entry *entry;
    struct lh_entry *next;
    lh_foreach_safe(members, entry, next)
    {
        const char *name = lh_entry_k(entry);
        if (strncmp(name, before, strlen(before)) != 0)
            continue;
        name += strlen(before);
        size_t length = strlen(name);
        if (strncmp(path, name, length) != 0)
            continue;
        if (path[length] == '\0')
            lh_table_delete_entry(members, entry);
        else if (path[length] == '.')
            remove_path(lh_entry_v(entry), path + length + 1);
    }
}

static void remove_path(struct json_object *value, const char *path)
{
    if (json_object_is_type(value, json_type_object)) {
        remove_from_object(json_object_get_object(value), "", path);
    } else if (json_object_is_type(value, json_type_array)) {
        size_t length = json_object_array_length(value);
        for (size_t i = 0; i < length; i++)
            remove_path(json_object_array_get_idx(value, i), path);
    }
}

bool rules_is_of_data(const char *path)
{
    return strcmp(path, "data") == 0 || strncmp(path, "data.", 5) == 0;
}

void rules_remove(const struct rules *rules, struct json_object *event)
{
    for (size_t i = 0; i < rules->removes; i++) {
        const char *path = rules->remove[i];
        remove_path(event, path);
        if (rules->previous_data && rules_is_of_data(path))
            remove_from_object(json_object_get_object(event), PREVIOUS, path);
    }
}

/* ---- U+0000 in texts: PostgreSQL takes none, and one in one row makes the load of a whole table fail. ---- */

/* Appends a text with U+FFFD in the place of each U+0000. */
static void append_replaced(struct buffer *out, const char *text, size_t length)
{
    for (size_t at = 0; at < length;) {
        size_t run = strnlen(text + at, length - at);
        buffer_append(out, text + at, run);
        at += run;
        if (at < length) {
            buffer_text(out, "\xEF\xBF\xBD");
            at++;
        }
    }
}

static bool replace_in_string(struct json_object *string, size_t *count)
{
    const char *text = json_object_get_string(string);
    size_t length = (size_t)json_object_get_string_len(string);
    if (memchr(text, '\0', length) == NULL)
        return true;
    struct buffer out = {0};
    append_replaced(&out, text, length);
    bool good = !out.failed && json_object_set_string_len(string, out.data, (int)out.length) == 1;
    buffer_free(&out);
    *count += good;
    return good;
}

/* Recursive: JSON_DEPTH_MAX bounds the depth. */
bool nul_replace(struct json_object *value, size_t *count)
{
    bool good = true;
    if (json_object_is_type(value, json_type_string)) {
        return replace_in_string(value, count);
    } else if (json_object_is_type(value, json_type_array)) {
        size_t length = json_object_array_length(value);
        for (size_t i = 0; good && i < length; i++)
            good = nul_replace(json_object_array_get_idx(value, i), count);
    } else if (json_object_is_type(value, json_type_object)) {
        const struct lh_entry *entry;
        lh_foreach(json_object_get_object(value), entry)
        {
            good = good && nul_replace(lh_entry_v(entry), count);
        }
    }
    return good;
}

/* ---- ids that Close does not give ---- */

/* 6f0e7b1c-2d49-4c58-9a3e-84c1d7f05b62: a random UUID, this program's namespace. It must never change: all made ids
 * would change with it, and users and duplicates would no longer be recognized. */
static const uuid_t namespace = {0x6f, 0x0e, 0x7b, 0x1c, 0x2d, 0x49, 0x4c, 0x58,
                                 0x9a, 0x3e, 0x84, 0xc1, 0xd7, 0xf0, 0x5b, 0x62};

/* Non-ASCII white space as UTF-8: U+0085, U+00A0, U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F, U+3000 and
 * the byte order mark U+FEFF. */
static const char *const wide_spaces[] = {
    "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81", "\xE2\x80\x82", "\xE2\x80\x83",
    "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86", "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A",
    "\xE2\x80\xA8", "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80", "\xEF\xBB\xBF",
};

/* Returns the length of the white space character at the start of the text; 0: none. */
static size_t space_length(const char *text, size_t length)
{
    if (length == 0)
        return 0;
    if (*text == ' ' || (*text >= '\t' && *text <= '\r'))
        return 1;
    for (size_t i = 0; i < sizeof wide_spaces / sizeof *wide_spaces; i++) {
        size_t wide = strlen(wide_spaces[i]);
        if (wide <= length && memcmp(text, wide_spaces[i], wide) == 0)
            return wide;
    }
    return 0;
}

bool identifier_is_blank(const char *text, size_t length)
{
    size_t at = 0;
    size_t space;
    while ((space = space_length(text + at, length - at)) != 0)
        at += space;
    return at == length;
}

void identifier_make(const void *bytes, size_t length, unsigned char uuid[static 16])
{
    uuid_generate_sha1(uuid, namespace, bytes, length);
}

void identifier_make_of(struct json_object *string, unsigned char uuid[static 16])
{
    size_t length;
    const char *exact = json_tree_exact(string, &length);
    identifier_make(exact, length, uuid);
}

void identifier_make_text(const void *bytes, size_t length, char text[static IDENTIFIER_TEXT])
{
    uuid_t uuid = {0};
    identifier_make(bytes, length, uuid);
    uuid_unparse_lower(uuid, text);
}

/* ---- parsing ---- */

/* ---- which members to parse: three of the envelope, and the event; by default without its previous values and the
 * list of changed fields, which would double its size ---- */

static bool is_wanted(unsigned depth, const char *parent, const char *name)
{
    (void)parent;
    return depth > 1 || strcmp(name, "event") == 0 || strcmp(name, "subscription_id") == 0 ||
           strcmp(name, EVENT_LOG_MARK) == 0;
}

static bool is_of_event(unsigned depth, const char *parent)
{
    return depth == 2 && parent != NULL && strcmp(parent, "event") == 0;
}

static bool is_wanted_with_changes(unsigned depth, const char *parent, const char *name)
{
    return is_of_event(depth, parent) ? strcmp(name, "previous_data") != 0 : is_wanted(depth, parent, name);
}

static bool is_wanted_with_previous(unsigned depth, const char *parent, const char *name)
{
    return is_of_event(depth, parent) ? strcmp(name, "changed_fields") != 0 : is_wanted(depth, parent, name);
}

static bool is_wanted_without(unsigned depth, const char *parent, const char *name)
{
    return is_of_event(depth, parent) ? strcmp(name, "previous_data") != 0 && strcmp(name, "changed_fields") != 0
                                      : is_wanted(depth, parent, name);
}

static struct json_reading reading_for(const struct rules *rules)
{
    static json_wanted *const wanted[2][2] = {{is_wanted_without, is_wanted_with_changes},
                                              {is_wanted_with_previous, is_wanted}};
    return (struct json_reading){wanted[rules->previous_data][rules->changed_fields], !rules->keep_nul};
}

/* Returns a member of the event that is a non-blank string, else NULL. */
static struct json_object *usable_member(struct json_object *event, const char *name)
{
    struct json_object *value = json_object_object_get(event, name);
    if (!json_object_is_type(value, json_type_string))
        return NULL;
    size_t length = (size_t)json_object_get_string_len(value);
    return identifier_is_blank(json_object_get_string(value), length) ? NULL : value;
}

static struct json_object *usable(const struct parsed *parsed, const char *name)
{
    return usable_member(parsed->event, name);
}

static bool find_event(struct parsed *parsed, struct error *why)
{
    struct json_object *root = parsed->document.root;
    if (!json_object_is_type(root, json_type_object)) {
        error_set(why, "the body is JSON, but no object with a Close event in it");
        return false;
    }
    parsed->event = json_object_object_get(root, "event");
    if (!json_object_is_type(parsed->event, json_type_object)) {
        error_set(why, parsed->event == NULL ? "the body has no member event" : "event is not an object");
        return false;
    }
    parsed->subscription_id = json_object_object_get(root, "subscription_id");
    parsed->is_past = json_object_get_boolean(json_object_object_get(root, EVENT_LOG_MARK));
    return true;
}

static bool no_memory(bool *out_of_memory, struct error *why)
{
    *out_of_memory = true;
    error_set(why, "out of memory");
    return false;
}

static bool refuse_name(const char *missing, struct error *why)
{
    error_set(why, "event.%s is missing, blank or not a string", missing);
    return false;
}

static bool find_name(struct parsed *parsed, bool *out_of_memory, struct error *why)
{
    struct json_object *type = usable(parsed, "object_type");
    struct json_object *action = usable(parsed, "action");
    if (type == NULL || action == NULL)
        return refuse_name(type == NULL ? "object_type" : "action", why);
    parsed->type_length = (size_t)json_object_get_string_len(type);
    size_t action_length = (size_t)json_object_get_string_len(action);
    parsed->name_length = parsed->type_length + 1 + action_length;
    parsed->name = malloc(parsed->name_length + 1);
    if (parsed->name == NULL)
        return no_memory(out_of_memory, why);
    memcpy(parsed->name, json_object_get_string(type), parsed->type_length);
    parsed->name[parsed->type_length] = ' ';
    memcpy(parsed->name + parsed->type_length + 1, json_object_get_string(action), action_length + 1);
    return true;
}

/* Makes the anonymousId of an event without a lead: the same for all events of one object, else of one organization. */
static void make_anonymous_id(struct parsed *parsed, const char *body)
{
    static const char *const sources[] = {"object_id", "organization_id", "id"};
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        struct json_object *source = usable(parsed, sources[i]);
        if (source != NULL) {
            size_t length;
            const char *exact = json_tree_exact(source, &length);
            identifier_make_text(exact, length, parsed->anonymous_id);
            return;
        }
    }
    identifier_make_text(body, parsed->body_length, parsed->anonymous_id);
}

static int64_t find_date(struct json_object *event, const char *name)
{
    struct json_object *date = json_object_object_get(event, name);
    if (!json_object_is_type(date, json_type_string))
        return DATE_UNREADABLE;
    return times_read(json_object_get_string(date), (size_t)json_object_get_string_len(date));
}

static void find_ids(struct parsed *parsed, const char *body)
{
    parsed->lead = json_object_get(usable(parsed, "lead_id"));
    if (parsed->lead == NULL)
        make_anonymous_id(parsed, body);
    parsed->id = json_object_get(usable(parsed, "id"));
    if (parsed->id != NULL) {
        identifier_make_of(parsed->id, parsed->identity.key);
    } else {
        identifier_make(body, parsed->body_length, parsed->identity.key);
        identifier_make_text(body, parsed->body_length, parsed->made_id);
    }
    parsed->identity.updated_us = find_date(parsed->event, "date_updated");
    parsed->timestamp_us = parsed->identity.updated_us;
    if (parsed->timestamp_us == DATE_UNREADABLE)
        parsed->timestamp_us = find_date(parsed->event, "date_created");
}

struct parsed *transform_parse(const char *body, size_t length, bool *out_of_memory, struct error *why)
{
    return transform_parse_for(body, length, NULL, out_of_memory, why);
}

struct parsed *transform_parse_for(const char *body, size_t length, const struct rules *rules, bool *out_of_memory,
                                   struct error *why)
{
    static const struct rules none;
    const struct json_reading how = reading_for(rules == NULL ? &none : rules);
    bool unasked;
    if (out_of_memory == NULL)
        out_of_memory = &unasked;
    *out_of_memory = false;
    struct parsed *parsed = calloc(1, sizeof *parsed);
    if (parsed == NULL) {
        no_memory(out_of_memory, why);
        return NULL;
    }
    parsed->body_length = length;
    if (!json_read_as(body, length, &how, &parsed->document, out_of_memory, why) || !find_event(parsed, why) ||
        !find_name(parsed, out_of_memory, why)) {
        parsed_free(parsed);
        return NULL;
    }
    find_ids(parsed, body);
    return parsed;
}

bool transform_read_head(struct json_object *event, struct event_head *head, struct error *why)
{
    *head = (struct event_head){.identity = {.updated_us = DATE_UNREADABLE}};
    if (!json_object_is_type(event, json_type_object)) {
        error_set(why, event == NULL ? "the body has no member event" : "event is not an object");
        return false;
    }
    head->identity.updated_us = find_date(event, "date_updated");
    struct json_object *type = usable_member(event, "object_type"), *action = usable_member(event, "action");
    if (type == NULL || action == NULL)
        return refuse_name(type == NULL ? "object_type" : "action", why);
    head->object_type = json_object_get_string(type);
    head->action = json_object_get_string(action);
    struct json_object *id = usable_member(event, "id");
    head->identified = id != NULL;
    if (id != NULL)
        identifier_make_of(id, head->identity.key);
    return true;
}

const struct identity *transform_identity(const struct parsed *parsed)
{
    return &parsed->identity;
}

const char *transform_lead(const struct parsed *parsed)
{
    return json_object_get_string(parsed->lead);
}

const char *transform_ordering_key(const struct parsed *parsed)
{
    return parsed->lead != NULL ? json_object_get_string(parsed->lead) : parsed->anonymous_id;
}

const char *transform_event_name(const struct parsed *parsed)
{
    return parsed->name;
}

const char *transform_event_id(const struct parsed *parsed)
{
    return json_object_get_string(parsed->id);
}

size_t transform_replaced(const struct parsed *parsed)
{
    return parsed->document.replaced;
}

size_t transform_nuls(const struct parsed *parsed)
{
    return parsed->texts_replaced + parsed->document.names_replaced;
}

void parsed_free(struct parsed *parsed)
{
    if (parsed == NULL)
        return;
    json_object_put(parsed->lead);
    json_object_put(parsed->id);
    json_object_put(parsed->message_id);
    free(parsed->name);
    json_document_free(&parsed->document);
    free(parsed);
}
