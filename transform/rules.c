/* The operator's rules: see rules.h. */
#include "transform/rules.h"

#include <json-c/linkhash.h>
#include <string.h>

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
