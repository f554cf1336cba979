/* check: what is wrong? The configuration with where each value came from, the addresses for Close, the data planes,
 * the place, the queue. The running program also calls it, with --offline, to try a new configuration before it takes
 * it on: then it changes nothing, and what waits in the queue does not matter. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/curl_calls.h"
#include "base/escape.h"
#include "base/text.h"
#include "closeapi/closeapi.h"
#include "commands/commands.h"
#include "commands/commands_private.h"
#include "config/config.h"
#include "forward/forward.h"
#include "health/findings.h"
#include "health/rule_look.h"
#include "kept/keys.h"
#include "transform/transform.h"

/* ---- messages ---- */

/* Prints a line for each setting that changes the messages; none for a source with the defaults. */
static void check_messages(const struct source *source)
{
    const struct rules rules = forward_rules(source);
    const struct {
        bool holds;
        const char *line;
    } lines[] = {
        {rules.keep_nul, "nul = keep: a text with U+0000 makes a warehouse fail to load the table that it is for, and\n"
                         "    with one in a name an event becomes a dead letter"},
        {rules.json_columns,
         "warehouse = json: in PostgreSQL, Redshift, Snowflake and BigQuery `data` is one column of "
         "JSON; a column\n    that is there already stays what it is: begin with a new schema"},
        {rules.close_context, "context = close: event tables and `tracks` have the columns context_close_user_id, "
                              "context_close_event_id\n    and others"},
        {rules.previous_data, "include = previous_data: messages hold what was deleted and what an update replaced, in "
                              "columns\n    of their own; what `remove` takes out of data is taken out there too"},
        {rules.identify, "identify = yes: a lead's and a contact's events send an identify besides, which RudderStack "
                         "bills as an event\n    each; turn \"Skip User Table\" off at the warehouse to have `users`"},
        {rules.alias,
         "alias = yes: lead.merged sends an alias besides; destinations without alias report it as failed,\n"
         "    and in some it cannot be undone"},
        {rules.removes > 0,
         "remove: what it names is in no message, page or sample; what it takes out of data neither in\n"
         "    previous_data nor in traits, user_id not in context.close"},
        {rules.changed_fields, "include = changed_fields: messages hold the names of what an update changed"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        if (lines[i].holds)
            printf("  %s\n", lines[i].line);
    }
}

/* ---- all that is looked at ---- */

/* Whether the source takes signed requests only: by a key of the configuration, or one that `subscribe` obtained; also
 * where such a key is missing. */
static bool has_key(const struct config *config, const struct source *source)
{
    struct source_keys keys;
    bool wanted = !source_keys_read(&keys, config, source) || keys.state != SIGNED_NEVER;
    source_keys_free(&keys);
    return wanted;
}

/* Where Close is to send a source's events: where its subscription sends them (""; not known). */
static void print_address(const struct config *config, const struct source *source, const char *address)
{
    char line[OWN_COMMAND], path[SOURCE_PATH];
    bool keyed = has_key(config, source);
    if (address[0] != '\0')
        printf("  address for Close: %s%s\n", address, !keyed ? "?writeKey=..." : "");
    else
        printf("  address for Close: https://YOUR-SITE/WHERE-IT-IS-MOUNTED%s%s\n", config_source_path(source, path),
               !keyed ? "?writeKey=<your write key>" : "");
    if (!keyed)
        printf("    without a signature_key anybody who learns that address can send events: better let\n"
               "    `%s`\n"
               "    make the subscription, or set the key that Close gave when it was made\n",
               own_command(line, config, source->name, "subscribe --url URL"));
}

static bool is_plain_http(const char *url)
{
    char host[URL_HOST];
    return strncmp(url, "http://", 7) == 0 && !config_host_is_loopback(config_url_host(url, host));
}

/* Tries a source's data plane and says what was found. Returns false when it is not as it should be. */
static bool try_data_plane(const struct config *config, const struct source *source)
{
    struct error why = {0};
    bool good = forward_try(config, source, &why);
    printf("  data plane: %s: %s\n", good ? "ok" : "WRONG", why.text);
    return good;
}

/* Asks Close whether it takes the API key, and looks at the subscriptions, where the source has a key. */
static bool try_close(const struct config *config, const struct source *source)
{
    struct error why = {0};
    char address[CLOSE_ADDRESS] = "";
    bool good = source->close_api_key == NULL || closeapi_check(config, source, address, &why);
    print_address(config, source, address);
    if (source->close_api_key != NULL)
        printf("  Close: %s: %s\n", good ? "ok" : "WRONG", why.text);
    return good;
}

static bool is_meant(const struct checking *checking, const struct source *source)
{
    return checking->only == NULL || checking->only == source;
}

static void print_source_settings(const struct source *source)
{
    if (is_plain_http(source->data_plane_url))
        printf("  data_plane_url is http: events and write key travel readable by others; use https\n");
    if (source->accept_empty == ANSWER_YES)
        printf("  accept_empty = yes: any server that answers 200 with an empty body, also one that is not the data "
               "plane,\n    counts as having stored the events; set it only where `no` keeps real deliveries "
               "waiting\n");
    if (source->signature_none)
        printf("  warning: signature_key = none: whoever knows the address and the write key can send events\n");
    check_messages(source);
}

static size_t check_sources(struct checking *checking)
{
    const struct config *config = checking->config;
    size_t wrong = 0;
    for (size_t i = 0; i < config->sources; i++) {
        const struct source *source = &config->source[i];
        struct checked_source *checked = &checking->source[i];
        if (!is_meant(checking, source))
            continue;
        printf("\nsource %s\n", source->name);
        fflush(stdout); /* trying may take a while */
        if (checking->offline)
            print_address(config, source, "");
        else
            checked->asks = try_close(config, source);
        print_source_settings(source);
        fflush(stdout);
        if (checking->offline)
            continue;
        checked->delivers = try_data_plane(config, source);
        wrong += !checked->delivers || !checked->asks;
    }
    return wrong;
}

/* Keys that are held for sources that are not configured. */
static void print_stray_keys(const struct config *config)
{
    struct keyring held;
    char line[OWN_COMMAND];
    if (!kept_keys_read(config, &held, NULL))
        return;
    for (size_t i = 0; i < held.count; i++) {
        if (config_source(config, held.at[i].source) == NULL)
            printf("\nthe key of subscription %s is held for source %s, which is not in the configuration: if that was "
                   "renamed,\n  %s\n",
                   held.at[i].subscription, held.at[i].source,
                   own_command(line, config, NULL, "queue move %s NEW", held.at[i].source));
    }
    keyring_free(&held);
}

/* ---- rules ---- */

static void print_rule(void *context, const struct source *source, const char *words)
{
    const struct checking *checking = context;
    if (!is_meant(checking, source))
        return;
    printf("warning: source %s: ", source->name);
    plain_write(stdout, words, strlen(words));
    putchar('\n');
}

/* ---- all of it ---- */

struct check_end {
    size_t sources_wrong, sources;
    size_t queue_wrong, place_wrong;
    bool worries;      /* somebody should look at something, ... */
    bool delivers;     /* ... but it works */
    bool stands_still; /* events wait, and nothing forwards them */
    bool offline;
};

static void print_check_end(const struct check_end *end)
{
    if (end->sources_wrong > 0)
        printf("%zu of %zu source%s %s something wrong: see WRONG above\n", end->sources_wrong, end->sources,
               text_plural(end->sources), end->sources_wrong == 1 ? "has" : "have");
    if (end->queue_wrong > 0)
        printf("The queue needs attention: see WRONG above\n");
    if (end->place_wrong > 0)
        printf("The place where the program runs needs attention: see WRONG above\n");
    if (end->sources_wrong + end->queue_wrong + end->place_wrong > 0)
        return;
    if (end->stands_still)
        puts("Events wait, and no process forwards them now: see above. No other fault was found");
    else if (end->worries)
        puts(end->delivers ? "It works, but look at what stands above" : "Look at what stands above");
    else
        printf("%s\n", end->offline ? "The configuration is good; nothing else was tried" : "Nothing is wrong");
}

/* A program that cannot send must not replace one that can. Returns how much is wrong. */
static size_t check_libraries(void)
{
    struct error why = {0};
    if (curl_calls_load(&why))
        return 0;
    printf("\nlibcurl\n  WRONG: %s\n", why.text);
    return 1;
}

static int check_all(struct checking *checking)
{
    const struct config *config = checking->config;
    bool stands_still = false;
    if (config->path != NULL)
        printf("configuration %s\n", config->path);
    size_t sources_wrong = check_sources(checking);
    print_stray_keys(config);
    size_t place_wrong = check_libraries() + (checking->offline ? 0 : check_place(config));
    size_t queue_wrong = checking->offline ? check_offline(checking) : check_queue(checking, &stands_still);
    if (!checking->offline) {
        place_wrong += check_alerts(config);
        print_last_errors(config);
    }
    putchar('\n');
    for (size_t i = 0; i < config->warnings.count; i++)
        printf("warning: %s\n", config->warnings.at[i]);
    rule_look_all(config, !checking->offline, print_rule, checking);
    print_check_end(&(struct check_end){.sources_wrong = sources_wrong,
                                        .sources = checking->only == NULL ? config->sources : 1,
                                        .queue_wrong = queue_wrong,
                                        .place_wrong = place_wrong,
                                        .worries = checking->worries,
                                        .delivers = checking->delivers,
                                        .stands_still = stands_still,
                                        .offline = checking->offline});
    return sources_wrong + queue_wrong + place_wrong == 0 ? COMMAND_OK : COMMAND_FAILED;
}

int command_check(int argc, char **argv)
{
    bool settings = false;
    const char *name = NULL;
    struct checking checking = {.only = NULL};
    const struct option_spec specs[] = {
        {"--offline", NULL, &checking.offline}, {"--settings", NULL, &settings}, {"--source", &name, NULL}};
    if (!options_read(argc, argv, specs, sizeof specs / sizeof *specs, NULL))
        return COMMAND_USAGE;
    struct config *config = session_configuration(argv[0]);
    if (config == NULL) {
        if (checking.offline)
            keep_refused_configuration();
        else
            print_last_errors(NULL);
        return COMMAND_CONFIGURATION;
    }
    int code = COMMAND_FAILED;
    checking.config = config;
    checking.only = name == NULL ? NULL : session_source(config, name, argv[0]);
    checking.source = calloc(config->sources + 1, sizeof *checking.source);
    if (name != NULL && checking.only == NULL)
        code = COMMAND_USAGE_SAID;
    else if (checking.source == NULL)
        fprintf(stderr, "check: out of memory\n");
    else
        code = check_all(&checking);
    if (settings && code != COMMAND_USAGE_SAID) {
        putchar('\n');
        config_print(config, stdout);
    }
    free(checking.source);
    config_free(config);
    return code;
}
