/* Both sides of an event: see view.h. */
#include "commands/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_walk.h"
#include "commands/apart.h"
#include "commands/source.h"
#include "transform/shown.h"

/* What is to stay out of sight: of a source, or of any; the paths are the configuration's. */
static bool find_rules(struct rules *rules, char ***paths, const struct config *config, const struct source *source)
{
    size_t most = 1, count = 0;
    for (size_t i = 0; i < config->sources; i++)
        most += config->source[i].remove.count;
    *paths = calloc(most, sizeof **paths);
    for (size_t i = 0; *paths != NULL && i < config->sources; i++) {
        const struct strings *remove = &config->source[i].remove;
        for (size_t path = 0; (source == NULL || source == &config->source[i]) && path < remove->count; path++)
            (*paths)[count++] = remove->at[path];
    }
    *rules = (struct rules){.remove = *paths, .removes = count};
    return *paths != NULL;
}

static void write_incoming(const struct rules *rules, const char *body, size_t length)
{
    const struct layout layout = layout_on(stdout);
    size_t removed;
    printf("as it came, %zu bytes:\n", length);
    if (shown_write(body, length, rules, &layout, &removed))
        putchar('\n');
    else
        puts("(not shown: what `remove` names cannot be found in it)");
    if (removed > 0)
        printf("(without %zu members that `remove` names, which stay out of sight)\n", removed);
}

static void write_message(const char *source_name, const struct source *source, const char *body, size_t length)
{
    struct buffer message = {NULL, 0, 0, false};
    struct rules rules = {.keeps = 0};
    struct error why = {0};
    size_t removed;
    if (source != NULL)
        rules = source_rules(source);
    enum apart_result result = apart_message(body, length, source == NULL ? NULL : &rules, &message, &why);
    if (result == APART_UNUSABLE) {
        printf("it makes no message: %s\n", why.text);
    } else if (result == APART_FAILED) {
        printf("the message that it makes cannot be shown: %s\n", why.text);
    } else if (source == NULL) {
        printf(
            "it makes no message: no source %s is configured; `closecrm.fcgi queue move %s NEW` gives it to another\n",
            source_name, source_name);
    } else if (result == APART_DROPPED) {
        puts("it makes no message: keep and drop leave it out");
    } else {
        puts("the message that it makes:");
        layout_write(stdout, message.data, message.length, NULL, 0, &removed);
    }
    buffer_free(&message);
}

bool view_event(const struct config *config, const char *source_name, const char *body, size_t length,
                struct error *why)
{
    const struct source *source = config_source(config, source_name);
    struct rules rules;
    char **paths;
    bool good = find_rules(&rules, &paths, config, source);
    if (good) {
        write_incoming(&rules, body, length);
        putchar('\n');
        fflush(stdout);
        write_message(source_name, source, body, length);
    } else {
        error_set(why, "out of memory");
    }
    free(paths);
    return good;
}
