/* What `check` says of the queue, and all else that is found (health/findings). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "base/program_name.h"
#include "base/text.h"
#include "base/times.h"
#include "commands/commands_private.h"
#include "config/config.h"
#include "forward/forward.h"
#include "health/findings.h"
#include "kept/kept.h"

static void print_library(const struct config *config)
{
    char library[QUEUE_LIBRARY], line[OWN_COMMAND];
    queue_library(config, library);
    if (config->queue == QUEUE_POSTGRESQL) {
        printf("  library: %s. Keys that `subscribe` obtained, the progress of `reconcile` and `backfill`, what is "
               "paused,\n"
               "    and which alerts and dead letters were told are in the database, too, for all machines that share "
               "it,\n"
               "    as are counters, charts and recent events of the page\n",
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
    if (mended && queue != NULL && forward_mended(facts->config, NULL))
        queue_wake(queue);
}

static void print_setup(const struct queue_setup *setup)
{
    if (setup->server[0] != '\0')
        printf("  database: %s\n  copies: %s\n  connections: %s\n", setup->server, setup->copies, setup->connections);
}

/* A server that was tried only. */
static void print_server(const struct queue_setup *setup, bool has_queue)
{
    print_setup(setup);
    if (setup->server[0] != '\0')
        printf("  queue: %s\n", has_queue ? "it is there; what waits is told where the program has run on this machine"
                                          : "none yet: the program makes it when it starts");
}

static void print_queue(const struct facts *facts)
{
    char age[WHEN_SIZE];
    if (facts->config->queue == QUEUE_SQLITE)
        check_file_system(facts->config->state_dir);
    print_library(facts->config);
    print_setup(&facts->setup);
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

/* Whether the queue may be opened; *wrong counts what is wrong otherwise. */
static bool look_at_state(const struct config *config, size_t *wrong)
{
    struct error why = {0};
    switch (session_become_owner(config, &why)) {
    case SESSION_PLACE_NONE:
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

/* Where the program has never run nobody has read the keys yet; it does when it starts, from where they were just
 * looked for: nothing is missing. */
static void leave_out_keys(struct facts *facts)
{
    for (size_t i = 0; i < facts->sources; i++) {
        facts->source[i].signature = SIGNED_NEVER;
        facts->source[i].keys.text[0] = '\0';
    }
}

/* Facts of the queue, where it may be opened (opens); a server is tried in any case. *shows: it was looked into.
 * *is_there: as queue_try. */
static struct facts *look_at_queue(struct checking *checking, bool opens, bool *shows, bool *is_there)
{
    const struct config *config = checking->config;
    struct error why = {0}, fault = {0};
    struct queue_setup setup;
    bool works = queue_try(config, &setup, is_there, &fault);
    opens = opens && *is_there; /* else opening would make it */
    struct queue *queue = opens ? queue_open(config, &why) : NULL;
    if (opens)
        kept_catch_up(config, NULL); /* the queue says it, where the database is away */
    const struct error *broken = opens ? &why : !works ? &fault : NULL;
    struct facts *facts = facts_gather(config, queue, broken, NULL, clock_unix_ms());
    facts_add_others(facts);
    if (facts != NULL && !opens)
        facts->setup = setup;
    if (facts != NULL && !opens && works && !kept_is_known(config, NULL))
        leave_out_keys(facts);
    if (facts != NULL && opens)
        configs_compare(config, NULL, &facts->configs);
    if (facts != NULL)
        tell_mended(checking, facts, queue);
    queue_close(queue);
    if (facts == NULL || findings_judge(facts)) {
        *shows = opens && facts != NULL && facts->queue_works;
        return facts;
    }
    facts_free(facts);
    return NULL;
}

/* The queue is closed before anything is printed, which takes as long as a pager likes. */
size_t check_queue(struct checking *checking, bool *stands_still)
{
    const struct config *config = checking->config;
    size_t wrong = 0;
    bool shows = false, is_there = false, opens = look_at_state(config, &wrong);
    struct facts *facts = look_at_queue(checking, opens, &shows, &is_there);
    if (facts == NULL) {
        printf("  WRONG: out of memory\n");
        return wrong + 1;
    }
    if (shows)
        print_queue(facts);
    else
        print_server(&facts->setup, is_there);
    if (config->queue == QUEUE_NONE && report_next(facts, NULL, VIEW_CHECK) != NULL)
        puts("\nqueue = none");
    wrong += print_findings(checking, facts, VIEW_CHECK);
    *stands_still = report_finds(facts, FINDING_NOT_FORWARDED_NOW, VIEW_CHECK);
    facts_free(facts);
    return wrong;
}

size_t check_offline(struct checking *checking)
{
    const struct config *config = checking->config;
    size_t wrong = check_state_directory(config);
    struct facts *facts = facts_gather(config, NULL, NULL, NULL, clock_unix_ms());
    if (facts != NULL && findings_judge(facts))
        print_findings(checking, facts, VIEW_OFFLINE);
    facts_free(facts);
    return wrong;
}
