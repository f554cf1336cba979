/* check: what is wrong? The configuration with where each value came from, the addresses for Close, the data planes,
 * the place, the queue. The running program also calls it, with --offline, to try a new configuration before it takes
 * it on: then it changes nothing, and what waits in the queue does not matter. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/curl_calls.h"
#include "base/escape.h"
#include "base/program_name.h"
#include "base/text.h"
#include "base/times.h"
#include "closeapi/closeapi.h"
#include "commands/commands.h"
#include "commands/commands_private.h"
#include "config/config.h"
#include "forward/forward.h"
#include "health/findings.h"
#include "health/rule_look.h"
#include "kept/kept.h"
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
    char line[OWN_COMMAND];
    bool keyed = has_key(config, source);
    if (address[0] != '\0')
        printf("  address for Close: %s%s\n", address, !keyed ? "?writeKey=..." : "");
    else
        printf("  address for Close: https://YOUR-SITE/WHERE-IT-IS-MOUNTED/%s%s\n", source->name,
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

/* What is to be checked, and what was found of each source. */
struct checking {
    const struct config *config;
    const struct source *only; /* NULL: all */
    bool offline;
    bool delivers; /* nothing keeps a data plane from taking events */
    bool worries;  /* something was found that is not wrong, and somebody should look at */
    struct checked_source {
        bool delivers; /* its data plane takes its key */
        bool asks;     /* Close takes its API key, and its subscriptions are in order */
    } * source;
};

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

/* ---- the queue ---- */

static void print_library(const struct config *config)
{
    char library[QUEUE_LIBRARY], line[OWN_COMMAND];
    queue_library(config, library);
    if (config->queue == QUEUE_POSTGRESQL) {
        printf("  library: %s. Keys that `subscribe` obtained, the progress of `reconcile` and `backfill`, what is "
               "paused,\n"
               "    and which alerts and dead letters were told are in the database, too, for all machines that share "
               "it;\n"
               "    the page's samples and its charts are this machine's own\n",
               library);
        return;
    }
    printf("  library: %s. Nobody else may write or checkpoint the queue while it is in use: look only at a copy\n"
           "    made by `%s`\n",
           library, own_command(line, config, NULL, "backup FILE"));
}

/* Whether the command is this one, under whatever name the program is called. */
static bool is_check(const char *command)
{
    size_t length = strlen(command), end = sizeof " check" - 1;
    return length >= end && strcmp(command + length - end, " check") == 0;
}

/* Whether a finding is of a source that is not meant, or says what stands above already. */
static bool is_left_out(const struct checking *checking, const struct finding *finding)
{
    const struct source *source = finding->source == NULL ? NULL : finding->source->source;
    if (checking->only != NULL && finding->source != NULL && source != checking->only)
        return true;
    return source != NULL && finding->id == FINDING_SUBSCRIPTION_PAUSED && !checking->offline &&
           !checking->source[source - checking->config->source].asks;
}

/* How many things are wrong, of those that a view shows. */
static size_t print_findings(struct checking *checking, const struct facts *facts, enum finding_view view)
{
    size_t wrong = 0;
    for (const struct finding *one = NULL; (one = report_next(facts, one, view)) != NULL;) {
        if (is_left_out(checking, one))
            continue;
        bool has_command = one->command[0] != '\0' && !is_check(one->command);
        bool is_bad = one->severity == SEVERITY_BAD;
        printf("  %s%s%s%s", is_bad ? "WRONG: " : "", one->source != NULL ? "source " : "",
               one->source != NULL ? one->source->name : "", one->source != NULL ? ": " : "");
        plain_write(stdout, one->sentence, strlen(one->sentence));
        if (one->remedy[0] != '\0')
            printf("\n    %s%s%s", one->remedy, has_command ? ": " : "", has_command ? one->command : "");
        putchar('\n');
        wrong += is_bad;
        checking->worries = checking->worries || one->severity == SEVERITY_WORRY;
    }
    checking->delivers = report_delivers(facts, view);
    return wrong;
}

/* Tells the process that forwards, if the data plane of a source that waits was just found to take its key. */
static void tell_mended(const struct checking *checking, struct facts *facts, struct queue *queue)
{
    bool mended = false;
    for (size_t i = 0; i < facts->config->sources; i++) {
        facts->source[i].takes_key = checking->source[i].delivers;
        mended = mended || finding_judge(FINDING_DATA_PLANE_MENDED, facts, &facts->source[i], NULL) == FINDING_FOUND;
    }
    if (mended && queue != NULL && forward_mended(facts->config))
        queue_wake(queue);
}

static void print_queue(const struct facts *facts)
{
    char age[WHEN_SIZE];
    if (facts->config->queue == QUEUE_SQLITE)
        check_file_system(facts->config->state_dir);
    print_library(facts->config);
    printf("  waiting: %" PRIu64, facts->all.waiting);
    if (facts->all.waiting > 0)
        printf(", the oldest since %s", times_print_age(facts->now_ms - facts->all.oldest_received_ms, age));
    printf("\n  forwarding: %s\n", facts->owner.text);
    output_moment("  last accepted:", facts->all.last_accepted_ms, facts->now_ms);
    output_moment("  last delivered:", facts->all.last_delivered_ms, facts->now_ms);
    output_moment("  last cron:", facts->cron_ms, facts->now_ms);
    char *line = facts->cron_ms == 0 && facts->launcher == NULL ? program_name_crontab() : NULL;
    if (line != NULL)
        printf("    where the web server starts the program (CGI, mod_fcgid), this belongs into the crontab of its\n"
               "    user: `%s`\n",
               line);
    free(line);
}

/* The queue was `sqlite` before, and is `none` now. */
static size_t check_left_behind(const struct config *config)
{
    uint64_t waiting;
    char line[OWN_COMMAND];
    struct error why = {0};
    bool known = queue_left_behind(config, &waiting, &why);
    if (known && waiting == 0)
        return 0;
    printf("\nstate directory %s\n", config->state_dir);
    if (!known) {
        printf(
            "  WRONG: there is a queue.db, which queue = none does not use, and what waits in it cannot be told: %s\n",
            why.text);
        return 1;
    }
    printf("  WRONG: %" PRIu64 " event%s wait%s in its queue.db, which nothing delivers with queue = none: set\n"
           "    queue = sqlite until nothing waits there, which `%s` shows\n",
           waiting, text_plural(waiting), text_singular(waiting), own_command(line, config, NULL, "queue status"));
    return 1;
}

/* Whether the queue may be opened; *wrong counts what is wrong otherwise. */
static bool look_at_state(const struct config *config, size_t *wrong)
{
    struct error why = {0};
    switch (session_become_owner(config, &why)) {
    case SESSION_PLACE_NONE:
        *wrong = check_left_behind(config);
        return false;
    case SESSION_PLACE_MISSING:
        *wrong = why.kind == ERROR_MISSING; /* it was there */
        if (*wrong == 0 && !check_may_make_state(config))
            *wrong = check_state_directory(config);
        else
            printf("\nstate directory\n  %s%s\n", *wrong > 0 ? "WRONG: " : "", why.text);
        return false;
    case SESSION_PLACE_BARRED:
        printf("\nstate directory\n  WRONG: %s\n", why.text);
        *wrong = 1;
        return false;
    case SESSION_PLACE_READY:
        break;
    }
    *wrong = check_state_directory(config);
    return *wrong == 0;
}

/* The queue, and all else that is found. It is closed before anything is printed, which takes as long as a pager likes.
 * *stands_still: events wait, and no process forwards; that is wrong only when it lasts. */
static size_t check_queue(struct checking *checking, bool *stands_still)
{
    const struct config *config = checking->config;
    size_t wrong = 0;
    struct error why = {0};
    bool opens = look_at_state(config, &wrong);
    struct queue *queue = opens ? queue_open(config, &why) : NULL;
    if (opens)
        kept_catch_up(config, NULL); /* the queue says it, where the database is away */
    struct facts *facts = facts_gather(config, queue, opens ? &why : NULL, NULL, clock_unix_ms());
    if (facts != NULL)
        tell_mended(checking, facts, queue);
    queue_close(queue);
    if (facts == NULL || !findings_judge(facts)) {
        printf("  WRONG: out of memory\n");
        facts_free(facts);
        return wrong + 1;
    }
    if (opens && facts->queue_works)
        print_queue(facts);
    if (config->queue == QUEUE_NONE && report_next(facts, NULL, VIEW_CHECK) != NULL)
        puts("\nqueue = none");
    wrong += print_findings(checking, facts, VIEW_CHECK);
    *stands_still = report_finds(facts, FINDING_NOT_FORWARDED_NOW, VIEW_CHECK);
    facts_free(facts);
    return wrong;
}

/* Without looking into the queue, and what is missing in the state directory is no fault of a configuration. */
static size_t check_offline(struct checking *checking)
{
    const struct config *config = checking->config;
    size_t wrong = check_state_directory(config);
    struct facts *facts = facts_gather(config, NULL, NULL, NULL, clock_unix_ms());
    if (facts != NULL && findings_judge(facts))
        print_findings(checking, facts, VIEW_OFFLINE);
    facts_free(facts);
    return wrong;
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
