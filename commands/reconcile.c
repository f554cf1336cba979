/* reconcile: fetches from the Event Log the events that no webhook has delivered. */
#include "commands/reconcile.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/times.h"
#include "commands/commands.h"
#include "commands/options.h"
#include "commands/output.h"
#include "commands/session.h"
#include "queue/loss.h"

#define PATIENCE_MS 60000

static void print_reconcile_json(const struct close_session *session, const struct reconcile_report *report,
                                 const struct completeness *complete)
{
    struct json_object *json = output_new();
    output_text(json, "source", session->source->name);
    output_us(json, "from", report->from_us);
    output_us(json, "until", report->to_us);
    output_number(json, "events", report->counts.events);
    output_number(json, "known", report->counts.known);
    output_number(json, "missing", report->counts.fresh);
    output_number(json, "missing_large", report->counts.large);
    output_number(json, "missing_late", report->second.fresh);
    output_number(json, "uncovered", report->counts.uncovered);
    output_number(json, "hidden", report->counts.hidden + report->second.hidden);
    output_number(json, "pages", report->counts.pages + report->second.pages);
    output_bool(json, "resumed", report->resumed);
    output_us(json, "complete_since", complete->since_ms * 1000);
    output_us(json, "complete_until", complete->until_ms * 1000);
    output_us(json, "verified_until", complete->verified_ms * 1000);
    output_text(json, "trouble", complete->trouble[0] == '\0' ? NULL : complete->trouble);
    output_print(json);
}

static void print_reconcile_text(const struct close_session *session, const struct reconcile_report *report,
                                 const struct completeness *complete, bool after_pause)
{
    char words[COMPLETENESS_WORDS];
    const struct import_counts *counts = &report->counts;
    uint64_t events = counts->events - counts->uncovered, missing = counts->fresh - counts->hidden;
    printf("source %s: %" PRIu64 " event%s in the log, %" PRIu64 " %s in the queue now\n", session->source->name,
           events, text_plural(events), missing, missing == 1 ? "was missing and is" : "were missing and are");
    if (counts->large > 0)
        printf("%" PRIu64
               " of them %s larger than all that came by webhook: some limit before the program refuses that; "
               "see README\n",
               counts->large, counts->large == 1 ? "is" : "are");
    if (report->second.fresh > 0)
        printf("%" PRIu64 " more %s found by reading a day-old part a second time\n", report->second.fresh,
               report->second.fresh == 1 ? "was" : "were");
    if (report->resumed)
        printf("Close had paused the subscription: it was activated again\n");
    if (report->rotated)
        printf("the rotation is over: the old subscription is removed\n");
    printf("%s\n", completeness_words(complete, words));
    if (after_pause)
        printf("the last 5 minutes, which Close still edits, come with the next reconcile\n");
}

static int print_reconcile(struct close_session *session, const struct reconcile_arguments *arguments,
                           enum reconcile_result result, const struct reconcile_report *report, const struct error *why)
{
    struct completeness complete;
    struct error reason = {0};
    if (result != RECONCILE_DONE && result != RECONCILE_TROUBLE)
        return close_session_failed(session, why);
    if (!closeapi_completeness(session->config, session->source, &complete, &reason))
        return close_session_failed(session, &reason);
    if (arguments->json)
        print_reconcile_json(session, report, &complete);
    else
        print_reconcile_text(session, report, &complete, arguments->after_pause);
    completeness_free(&complete);
    return result == RECONCILE_TROUBLE ? close_session_failed(session, why) : COMMAND_OK;
}

int reconcile_and_print(struct close_session *session, const struct reconcile_arguments *arguments)
{
    struct error why = {0};
    struct reconcile_report report;
    const struct reconcile_options options = {.stop_fd = -1,
                                              .all_events = arguments->all_events,
                                              .silent = true,
                                              .from_us = arguments->from_us,
                                              .patience_ms = PATIENCE_MS};
    if (session->lock >= 0)
        close(session->lock);
    session->lock = -1;
    enum reconcile_result result =
        closeapi_reconcile(session->config, session->source, session->queue, &options, &report, &why);
    close_session_release(session);
    return print_reconcile(session, arguments, result, &report, &why);
}

static int reconcile_one(const char *command, const char *source, const struct reconcile_arguments *arguments)
{
    struct close_session session;
    int code = close_session_open(&session, command, source);
    if (code == COMMAND_OK)
        code = close_session_open_queue(&session);
    if (code == COMMAND_OK)
        code = reconcile_and_print(&session, arguments);
    close_session_close(&session);
    return code;
}

/* Without an API key nothing can be fetched: but a loss can be left as it is, so that nothing says any more that events
 * may be gone. *done: it was such a source. */
static int leave_loss(const char *command, const char *name, bool *done)
{
    struct error why = {0};
    struct config *config = config_load(&why);
    const struct source *source = config == NULL ? NULL : config_source(config, name);
    int code = COMMAND_OK;
    *done = source != NULL && source->close_api_key == NULL && config->state_dir != NULL;
    if (*done && !session_may_open(config, &why))
        code = COMMAND_STATE;
    else if (*done && !loss_clear(config->state_dir, source->name, &why))
        code = COMMAND_FAILED;
    if (*done && code == COMMAND_OK)
        printf("source %s: what may be gone is left so: nothing says it any more\n", source->name);
    else if (*done)
        fprintf(stderr, "%s: %s\n", command, why.text);
    config_free(config);
    return code;
}

/* Without --source: all sources that have an API key. */
static int reconcile_all(const char *command, const struct reconcile_arguments *arguments)
{
    int worst = COMMAND_OK;
    size_t done = 0;
    struct config *config = session_configuration(command);
    if (config == NULL)
        return COMMAND_CONFIGURATION;
    for (size_t i = 0; i < config->sources; i++) {
        if (config->source[i].close_api_key == NULL && config->sources > 1)
            continue;
        int code = reconcile_one(command, config->source[i].name, arguments);
        worst = code > worst ? code : worst;
        done++;
    }
    if (done == 0) {
        fprintf(stderr, "%s: no source has a close_api_key: put one into the configuration\n", command);
        worst = COMMAND_FAILED;
    }
    config_free(config);
    return worst;
}

int command_reconcile(int argc, char **argv)
{
    const char *source = NULL, *from = NULL;
    int64_t from_ms = 0;
    struct reconcile_arguments arguments = {.json = false};
    const struct option_spec specs[] = {{"--source", &source, NULL},
                                        {"--from", &from, NULL},
                                        {"--all-events", NULL, &arguments.all_events},
                                        {"--json", NULL, &arguments.json}};
    if (!options_read(argc, argv, specs, sizeof specs / sizeof *specs, NULL))
        return COMMAND_USAGE;
    if (from != NULL && (!times_read_point(from, clock_unix_ms(), &from_ms) || from_ms <= 0))
        return options_wrong(argv[0], "--from is a time like 2026-11-24, 2026-11-24T20:45 (UTC) or 7d, not \"%.60s\"",
                             from);
    if (from_ms > clock_unix_ms())
        return options_wrong(argv[0], "--from is a time that is past, not \"%.60s\"", from);
    arguments.from_us = from_ms * 1000;
    bool done = false;
    int code = source != NULL && from != NULL && strcmp(from, "0s") == 0 ? leave_loss(argv[0], source, &done) : 0;
    if (done)
        return code;
    return source != NULL ? reconcile_one(argv[0], source, &arguments) : reconcile_all(argv[0], &arguments);
}
