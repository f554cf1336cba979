/* Both sides of an event: see view.h. */
#include "commands/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/layout.h"
#include "commands/plain.h"
#include "commands/source.h"
#include "transform/json_reader.h"

/* Paths from the body's root on. All are owned. */
struct paths {
    char **at;
    size_t count;
};

static bool add_path(struct paths *paths, const char *before, const char *path)
{
    char **at = realloc(paths->at, (paths->count + 1) * sizeof *at);
    if (at == NULL)
        return false;
    paths->at = at;
    if (asprintf(&at[paths->count], "event.%s%s", before, path) < 0)
        return false;
    paths->count++;
    return true;
}

/* What `remove` names below the event. Close tells what a member was before in previous_data, which no message has but
 * which would be seen here. */
static bool add_removed(struct paths *paths, const struct strings *remove)
{
    for (size_t i = 0; i < remove->count; i++) {
        const char *path = remove->at[i];
        if (!add_path(paths, "", path))
            return false;
        if (strcmp(path, "data") == 0 && !add_path(paths, "previous_", path))
            return false;
        if (strncmp(path, "data.", 5) == 0 && !add_path(paths, "previous_", path))
            return false;
    }
    return true;
}

static bool find_paths(struct paths *paths, const struct config *config, const struct source *source)
{
    bool good = source == NULL || add_removed(paths, &source->remove);
    for (size_t i = 0; source == NULL && good && i < config->sources; i++)
        good = add_removed(paths, &config->source[i].remove);
    return good;
}

static void free_paths(struct paths *paths)
{
    for (size_t i = 0; i < paths->count; i++)
        free(paths->at[i]);
    free(paths->at);
}

/* Whether the paths lead somewhere in the body. */
static bool has_event(const char *body, size_t length, bool *is_json)
{
    struct json_document document = {NULL, NULL, 0};
    bool out_of_memory;
    *is_json = json_read(body, length, NULL, &document, &out_of_memory, NULL);
    bool has = *is_json && json_object_is_type(document.root, json_type_object) &&
               json_object_is_type(json_object_object_get(document.root, "event"), json_type_object);
    json_document_free(&document);
    return has;
}

static bool write_incoming(const struct paths *paths, const char *body, size_t length)
{
    bool is_json, good = true;
    size_t removed = 0;
    bool has = has_event(body, length, &is_json);
    printf("as it came, %zu bytes:\n", length);
    if (!has && paths->count > 0) {
        puts("(not shown: what `remove` names cannot be found in it)");
    } else if (is_json) {
        good = layout_write(stdout, body, length, (const char *const *)paths->at, paths->count, &removed);
    } else {
        plain_write(stdout, body, length);
        putchar('\n');
    }
    if (removed > 0)
        printf("(without %zu members that `remove` names, which stay out of sight)\n", removed);
    return good;
}

static bool write_message(struct parsed *parsed, const struct rules *rules)
{
    struct buffer message = {NULL, 0, 0, false};
    size_t removed;
    bool good = true;
    switch (transform_message(parsed, rules, false, &message)) {
    case TRANSFORM_OK:
        puts("the message that it makes:");
        good = layout_write(stdout, message.data, message.length, NULL, 0, &removed);
        break;
    case TRANSFORM_DROPPED:
        puts("it makes no message: keep and drop leave it out");
        break;
    case TRANSFORM_FAILED:
        good = false;
        break;
    }
    buffer_free(&message);
    return good;
}

bool view_event(const struct config *config, const char *source_name, const char *body, size_t length, struct why *why)
{
    struct paths paths = {NULL, 0};
    struct why unusable = {""};
    const struct source *source = config_source(config, source_name);
    bool out_of_memory = false;
    bool good = find_paths(&paths, config, source) && write_incoming(&paths, body, length);
    struct parsed *parsed = good ? transform_parse(body, length, &out_of_memory, &unusable) : NULL;
    good = good && !out_of_memory;
    if (good)
        putchar('\n');
    if (good && parsed == NULL) {
        printf("it makes no message: %s\n", unusable.text);
    } else if (good && source == NULL) {
        printf(
            "it makes no message: no source %s is configured; `closecrm.fcgi queue move %s NEW` gives it to another\n",
            source_name, source_name);
    } else if (good) {
        struct rules rules = source_rules(source);
        good = write_message(parsed, &rules);
    }
    parsed_free(parsed);
    free_paths(&paths);
    if (!good)
        why_set(why, "out of memory");
    return good;
}
