/* subscriptions: lists the subscriptions in Close, and whether their keys are kept here. */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/escape.h"
#include "commands/close_session.h"
#include "commands/commands.h"
#include "commands/options.h"
#include "commands/output.h"
#include "commands/session.h"

static size_t count_events(const struct subscription *one)
{
    struct json_object *events = json_object_object_get(one->json, "events");
    return json_object_is_type(events, json_type_array) ? json_object_array_length(events) : 0;
}

static const char *or_nothing(const char *text)
{
    return text[0] == '\0' ? "-" : text;
}

static void print_subscription(const struct close_session *session, const struct subscription *one)
{
    char source[128];
    bool held = close_session_holds_key(session, one->id, source);
    printf("%s  %s", one->id, or_nothing(one->status));
    if (one->health[0] != '\0')
        printf(", %s", one->health);
    printf("\n  url: ");
    plain_write(stdout, one->url, strlen(one->url));
    printf("\n  events: %zu\n", count_events(one));
    if (held)
        printf("  key: held, for source %s\n", source);
    else
        printf("  key: not held here\n");
    if (closeapi_paused_by_us(session->directory, one->id))
        printf("  paused by the command `pause`\n");
    if (one->pause_reason[0] != '\0') {
        printf("  pause reason: ");
        plain_write(stdout, one->pause_reason, strlen(one->pause_reason));
        putchar('\n');
    }
    if (one->latest_error[0] != '\0') {
        printf("  latest error: ");
        plain_write(stdout, one->latest_error, strlen(one->latest_error));
        putchar('\n');
    }
}

/* What Close did not send is null. */
static void add_close_text(struct json_object *object, const char *name, const char *text)
{
    output_text(object, name, text[0] == '\0' ? NULL : text);
}

static void print_list_json(const struct close_session *session)
{
    for (size_t i = 0; i < session->list.count; i++) {
        const struct subscription *one = &session->list.at[i];
        char source[128];
        struct json_object *element = output_new();
        bool held = close_session_holds_key(session, one->id, source);
        add_close_text(element, "id", one->id);
        add_close_text(element, "url", one->url);
        add_close_text(element, "status", one->status);
        add_close_text(element, "health_status", one->health);
        add_close_text(element, "pause_reason", one->pause_reason);
        add_close_text(element, "latest_error", one->latest_error);
        output_bool(element, "paused_by_us", closeapi_paused_by_us(session->directory, one->id));
        output_bool(element, "key_held", held);
        add_close_text(element, "source", source);
        output_member(element, "events", json_object_get(json_object_object_get(one->json, "events")));
        output_print(element);
    }
}

/* Whether two sources ask the same Close. */
static bool are_of_one_close(const struct source *a, const struct source *b)
{
    return a->close_api_key != NULL && b->close_api_key != NULL && strcmp(a->close_api_key, b->close_api_key) == 0 &&
           strcmp(a->close_api_url, b->close_api_url) == 0;
}

/* Whether an earlier source has listed what this one would. */
static bool is_listed_already(const struct config *config, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (are_of_one_close(&config->source[i], &config->source[at]))
            return true;
    }
    return false;
}

/* "source one, two:" where several are configured. */
static void print_sources(const struct config *config, const struct source *source)
{
    if (config->sources < 2)
        return;
    printf("source %s", source->name);
    for (const struct source *other = source + 1; other < config->source + config->sources; other++) {
        if (are_of_one_close(source, other))
            printf(", %s", other->name);
    }
    puts(":");
}

static int list_source(struct close_session *session, const struct source *source, bool json)
{
    int code = close_session_choose(session, source);
    if (code == COMMAND_OK)
        code = close_session_list(session);
    close_session_release(session);
    if (code != COMMAND_OK)
        return code;
    if (json) {
        print_list_json(session);
        return COMMAND_OK;
    }
    print_sources(session->config, source);
    for (size_t i = 0; i < session->list.count; i++)
        print_subscription(session, &session->list.at[i]);
    printf("%zu of %d subscriptions are taken\n", session->list.count, SUBSCRIPTIONS_MOST);
    fflush(stdout);
    return COMMAND_OK;
}

/* Of all sources. One without an API key has nothing to list, unless none has any. */
static int list_sources(struct close_session *session, bool json)
{
    const struct config *config = session->config;
    int code = COMMAND_OK;
    bool any = false;
    for (size_t i = 0; i < config->sources; i++)
        any = any || config->source[i].close_api_key != NULL;
    for (size_t i = 0; i < config->sources; i++) {
        const struct source *source = &config->source[i];
        if ((any && source->close_api_key == NULL) || is_listed_already(config, i))
            continue;
        int one = list_source(session, source, json);
        code = one == COMMAND_OK ? code : one;
    }
    return code;
}

int command_subscriptions(int argc, char **argv)
{
    const char *name = NULL;
    bool json = false;
    const struct option_spec specs[] = {{"--source", &name, NULL}, {"--json", NULL, &json}};
    if (!options_read(argc, argv, specs, sizeof specs / sizeof *specs, NULL))
        return COMMAND_USAGE;
    struct close_session session;
    int code = close_session_begin(&session, argv[0]);
    if (code == COMMAND_OK && name != NULL) {
        const struct source *source = session_source(session.config, name, argv[0]);
        code = source == NULL ? COMMAND_USAGE_SAID : list_source(&session, source, json);
    } else if (code == COMMAND_OK) {
        code = list_sources(&session, json);
    }
    close_session_close(&session);
    return code;
}
