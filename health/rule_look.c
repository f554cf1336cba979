/* Misspelt rules: see rule_look.h. */
#include "health/rule_look.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/text.h"
#include "closeapi/subscriptions.h"
#include "transform/transform.h"

#define NAME_SIZE 128
#define NEAR 2       /* letters in which a misspelt name differs */
#define SHORT_NAME 5 /* shorter names differ from each other by as much: to, cc, bcc */

struct rule_look {
    const struct source *source;
    struct recent *recent;
    struct recent_event *seen; /* NULL: none */
    size_t seen_count;
    void (*tell)(void *context, const char *words);
    void *context;
};

static void say(const struct rule_look *look, const struct error *words)
{
    look->tell(look->context, words->text);
}

/* ---- keep and drop ---- */

static bool pattern_matches(char *pattern, const char *name)
{
    const struct rules rules = {.keep = &pattern, .keeps = 1};
    return rules_keep(&rules, name, strlen(name));
}

/* "lead updated", as the sample has it, matches like "lead.updated". */
static bool matches_seen(const struct rule_look *look, char *pattern)
{
    char name[sizeof look->seen->name];
    for (size_t i = 0; i < look->seen_count; i++) {
        memcpy(name, look->seen[i].name, sizeof name);
        char *gap = strrchr(name, ' ');
        if (gap != NULL)
            *gap = '.';
        if (strcmp(look->seen[i].source, look->source->name) == 0 && pattern_matches(pattern, name))
            return true;
    }
    return false;
}

/* The documented event nearest to a misspelt pattern; of TYPE.* the type. Returns false when none is near. */
static bool nearest_pattern(const char *pattern, char out[static 2 * NAME_SIZE])
{
    size_t count, nearest = NEAR + 1, stem = strlen(pattern);
    const struct event_type *types = event_types_all(&count);
    bool any_action = stem > 2 && strcmp(pattern + stem - 2, ".*") == 0;
    for (size_t i = 0; i < count; i++) {
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "%s.%s", types[i].object_type, any_action ? "*" : types[i].action);
        size_t distance = text_distance(pattern, name);
        if (distance >= nearest)
            continue;
        nearest = distance;
        snprintf(out, 2 * NAME_SIZE, "; did you mean %s?", name);
    }
    return nearest <= NEAR;
}

static bool matches_documented(char *pattern)
{
    size_t count;
    const struct event_type *types = event_types_all(&count);
    for (size_t i = 0; i < count; i++) {
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "%s.%s", types[i].object_type, types[i].action);
        if (pattern_matches(pattern, name))
            return true;
    }
    return false;
}

/* Says which patterns match nothing. Returns how many match something. */
static size_t look_at_patterns(const struct rule_look *look, const char *key, const struct strings *patterns)
{
    size_t good = 0;
    for (size_t i = 0; i < patterns->count; i++) {
        char nearest[2 * NAME_SIZE] = "";
        struct error words;
        if (matches_documented(patterns->at[i]) || matches_seen(look, patterns->at[i])) {
            good++;
            continue;
        }
        nearest_pattern(patterns->at[i], nearest);
        error_set(&words, "%s = %.100s matches no event that Close documents%s%s", key, patterns->at[i],
                  look->recent != NULL ? ", and none that was seen" : "", nearest);
        say(look, &words);
    }
    return good;
}

static bool has_pattern(const struct strings *patterns, const char *pattern)
{
    for (size_t i = 0; i < patterns->count; i++) {
        if (strcmp(patterns->at[i], pattern) == 0)
            return true;
    }
    return false;
}

/* ---- remove ---- */

/* What an event itself has; what is specific to its type stands in data. */
static const char *const own[] = {"id",
                                  "action",
                                  "object_type",
                                  "object_id",
                                  "lead_id",
                                  "user_id",
                                  "request_id",
                                  "api_key_id",
                                  "organization_id",
                                  "oauth_client_id",
                                  "oauth_scope",
                                  "date_created",
                                  "date_updated",
                                  "changed_fields",
                                  "meta",
                                  "data",
                                  "previous_data",
                                  NULL};

/* Members of data that people remove: texts and persons. */
static const char *const personal[] = {"body_html",
                                       "body_text",
                                       "body_preview",
                                       "body_html_quoted",
                                       "body_text_quoted",
                                       "subject",
                                       "sender",
                                       "envelope",
                                       "to",
                                       "cc",
                                       "bcc",
                                       "attachments",
                                       "note",
                                       "note_html",
                                       "text",
                                       "html",
                                       "description",
                                       "name",
                                       "display_name",
                                       "title",
                                       "addresses",
                                       "emails",
                                       "phones",
                                       "urls",
                                       "contacts",
                                       "contact_id",
                                       "email",
                                       "phone",
                                       "recording_url",
                                       "voicemail",
                                       "phone_number",
                                       "remote_phone",
                                       "local_phone",
                                       "transcript",
                                       NULL};

static bool is_in(const char *const *names, const char *name)
{
    for (; *names != NULL; names++) {
        if (strcmp(*names, name) == 0)
            return true;
    }
    return false;
}

/* The members that were seen, or are known, and the one that is nearest to a name. */
struct member_search {
    const char *name;
    bool found;
    size_t distance;
    char nearest[NAME_SIZE];
};

static void consider_member(struct member_search *search, const char *name)
{
    size_t distance = text_distance(search->name, name);
    if (strcmp(search->name, name) == 0) {
        search->found = true;
    } else if (distance < search->distance) {
        search->distance = distance;
        snprintf(search->nearest, sizeof search->nearest, "%s", name);
    }
}

/* Considers what stands in a body as "name": may be cut anywhere. */
static void consider_body(struct member_search *search, const char *body, size_t length)
{
    const char *end = body + length;
    for (const char *quote = body; (quote = memchr(quote, '"', (size_t)(end - quote))) != NULL; quote++) {
        char name[NAME_SIZE];
        size_t letters = 0;
        const char *at = quote + 1;
        while (at < end && letters < sizeof name - 1 && (isalnum((unsigned char)*at) || strchr("_-.", *at) != NULL))
            name[letters++] = *at++;
        name[letters] = '\0';
        if (letters > 0 && at + 1 < end && at[0] == '"' &&
            (at[1] == ':' || (at[1] == ' ' && at + 2 < end && at[2] == ':')))
            consider_member(search, name);
    }
}

static void consider_seen(const struct rule_look *look, struct member_search *search)
{
    struct recent_whole *whole = look->seen_count > 0 ? malloc(sizeof *whole) : NULL;
    for (size_t i = 0; whole != NULL && i < look->seen_count; i++) {
        if (strcmp(look->seen[i].source, look->source->name) == 0 &&
            recent_get(look->recent, look->seen[i].number, clock_unix_ms(), whole))
            consider_body(search, whole->incoming, whole->event.incoming_length);
    }
    free(whole);
}

static void look_at_path(const struct rule_look *look, const char *path)
{
    char first[NAME_SIZE];
    struct error words;
    snprintf(first, sizeof first, "%.*s", (int)strcspn(path, "."), path);
    const char *dot = strrchr(path, '.'), *last = dot == NULL ? path : dot + 1;
    struct member_search search = {.name = is_in(own, first) ? last : first, .distance = NEAR + 1};
    consider_seen(look, &search);
    if (!is_in(own, first)) {
        bool below = strcmp(first, "event") == 0 && path[5] == '.';
        if (search.found)
            return;
        error_set(&words,
                  "remove = %.100s: Close's events have no member %.60s, so nothing is removed; did you mean %s%.100s?",
                  path, first, below ? "" : "data.", below ? path + 6 : path);
        say(look, &words);
        return;
    }
    for (size_t i = 0; personal[i] != NULL; i++)
        consider_member(&search, personal[i]);
    size_t length = strlen(last), nearest = strlen(search.nearest);
    bool plural = strncmp(last, search.nearest, length < nearest ? length : nearest) == 0; /* email, emails */
    if (dot == NULL || search.found || search.distance > NEAR || length < SHORT_NAME || plural)
        return;
    error_set(&words, "remove = %.100s: no event is known to have it; did you mean %.*s.%.60s?", path,
              (int)(dot - path), path, search.nearest);
    say(look, &words);
}

/* ---- all ---- */

void rule_look(const struct source *source, struct recent *recent, void (*tell)(void *context, const char *words),
               void *context)
{
    struct rule_look look = {.source = source, .recent = recent, .tell = tell, .context = context};
    struct error words;
    look.seen = recent == NULL ? NULL : calloc(RECENT_COUNT, sizeof *look.seen);
    if (look.seen != NULL)
        look.seen_count = recent_list(recent, 0, clock_unix_ms(), look.seen, RECENT_COUNT);
    if (source->keep.count > 0 && look_at_patterns(&look, "keep", &source->keep) == 0) {
        error_set(&words, "keep names nothing else: every event is dropped");
        say(&look, &words);
    }
    look_at_patterns(&look, "drop", &source->drop);
    if (has_pattern(&source->drop, "*") || has_pattern(&source->drop, "*.*")) {
        error_set(&words, "drop names everything: every event is dropped");
        say(&look, &words);
    }
    for (size_t i = 0; i < source->remove.count; i++)
        look_at_path(&look, source->remove.at[i]);
    free(look.seen);
}

struct telling {
    const struct source *source;
    void (*tell)(void *context, const struct source *source, const char *words);
    void *context;
};

static void tell_of_source(void *context, const char *words)
{
    const struct telling *telling = context;
    telling->tell(telling->context, telling->source, words);
}

/* Nothing is made in a state directory that may turn out not to be usable. */
static bool has_recent(const struct config *config)
{
    char path[PATH_MAX];
    return config->queue == QUEUE_SQLITE && files_is_own_directory(config->state_dir) &&
           snprintf(path, sizeof path, "%s/queue.db", config->state_dir) < (int)sizeof path && access(path, F_OK) == 0;
}

void rule_look_all(const struct config *config, bool sampled,
                   void (*tell)(void *context, const struct source *source, const char *words), void *context)
{
    struct recent *recent = NULL;
    if (sampled && has_recent(config))
        recent = recent_open(config->state_dir);
    for (size_t i = 0; i < config->sources; i++) {
        struct telling telling = {&config->source[i], tell, context};
        rule_look(telling.source, recent, tell_of_source, &telling);
    }
    if (recent != NULL)
        recent_close(recent);
}
