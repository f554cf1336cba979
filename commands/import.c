/* reconcile and backfill: fetch events from Close's Event Log into the queue: those that no webhook has delivered, and
 * those of a period. */
#include "commands/close_session.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/times.h"
#include "closeapi/closeapi.h"
#include "commands/commands.h"
#include "commands/commands_private.h"
#include "kept/kept.h"
#include "queue/inspect.h"

/* ---- reconcile ---- */

#define RECONCILE_PATIENCE_MS 60000

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
    output_text(json, "rotation", report->rotation[0] == '\0' ? NULL : report->rotation);
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
    if (report->rotation[0] != '\0' && strcmp(report->rotation, complete->trouble) != 0)
        printf("%s\n", report->rotation);
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
                                              .patience_ms = RECONCILE_PATIENCE_MS};
    kept_close(session->lock);
    session->lock = NULL;
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

/* ---- backfill ---- */

#define BACKFILL_PATIENCE_MS (10 * 60000) /* for Close, in all: a run over night must outlive an outage of minutes */
#define TERMINAL_MS 200                   /* between progress lines on a terminal */
#define LOG_MS 30000                      /* between progress lines in a log */
#define BAR 24                            /* on a line with room for it */
#define BESIDE_BAR 90                     /* columns that the rest of the line may take */

struct backfill_options {
    const char *source;
    struct backfill_order order;
    bool json;
};

/* Where progress is shown. */
struct progress_display {
    int terminal; /* stderr, reopened non-blocking: it may be stopped (Ctrl-S) while locks are held; -1: stderr is a log
                   */
    moment started, shown;
};

static void open_display(struct progress_display *display)
{
    *display = (struct progress_display){.terminal = -1, .started = clock_now(), .shown = clock_now()};
    if (isatty(STDERR_FILENO))
        display->terminal = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (display->terminal < 0)
        log_open(LEVEL_INFO);
}

/* Erases the progress bar. */
static void close_display(const struct progress_display *display)
{
    if (display->terminal < 0)
        return;
    close(display->terminal);
    if (display->shown != display->started)
        fputs("\r\x1b[K", stderr);
}

/* A line that a stopped terminal does not take is dropped: the next one comes soon. */
static void show_line(const struct progress_display *display, const char *line)
{
    static const char begins[] = "\r", ends[] = "\x1b[K";
    size_t most = wrap_columns(display->terminal) - 1; /* a cursor in the last column goes on in the next line */
    size_t length = strlen(line) < most ? strlen(line) : most;
    char whole[600];
    int n = snprintf(whole, sizeof whole, "%s%.*s%s", begins, (int)length, line, ends);
    ssize_t written = write(display->terminal, whole, (size_t)n);
    (void)written;
}

static const char *describe_left(char out[static 32], int64_t ms)
{
    int64_t s = ms / 1000;
    if (s >= 3600)
        snprintf(out, 32, "  left %" PRId64 "h%02" PRId64 "m", s / 3600, s / 60 % 60);
    else
        snprintf(out, 32, "  left %" PRId64 "m%02" PRId64 "s", s / 60, s % 60);
    return out;
}

static void show_bar(const struct progress_display *display, const struct import_counts *counts, int per_mille,
                     const char *date)
{
    char bar[BAR + 5] = "[", left[32] = "", line[400];
    bool room = wrap_columns(display->terminal) > BESIDE_BAR + BAR;
    for (int i = 0; i < BAR; i++)
        bar[1 + i] = i * 1000 < per_mille * BAR ? '#' : '.';
    memcpy(bar + 1 + BAR, "] ", sizeof "] ");
    if (per_mille > 0)
        describe_left(left, (clock_now() - display->started) * (1000 - per_mille) / per_mille);
    snprintf(line, sizeof line,
             "%s%3d %%%s  %" PRIu64 " event%s, %" PRIu64 " new, %" PRIu64 " known  at %.19s  window %" PRIu64,
             room ? bar : "", per_mille / 10, left, counts->events, text_plural(counts->events), counts->fresh,
             counts->known, date, counts->windows + 1);
    show_line(display, line);
}

static void show_progress(void *context, const struct import_counts *counts, int64_t from_us, int64_t reached_us,
                          int64_t until_us)
{
    struct progress_display *display = context;
    char date[DATE_PRINTED];
    moment now = clock_now();
    if (now - display->shown < (display->terminal >= 0 ? TERMINAL_MS : LOG_MS))
        return;
    display->shown = now;
    int per_mille = until_us > from_us ? (int)((reached_us - from_us) * 1000 / (until_us - from_us)) : 1000;
    times_print(reached_us, DATE_MILLISECONDS, date);
    if (display->terminal >= 0)
        show_bar(display, counts, per_mille, date);
    else
        log_write(LEVEL_INFO,
                  "msg=backfill percent=%d windows=%" PRIu64 " events=%" PRIu64 " new=%" PRIu64 " known=%" PRIu64
                  " reached=%s",
                  per_mille / 10, counts->windows, counts->events, counts->fresh, counts->known, date);
}

static void show_waiting(void *context, int64_t ms, const char *reason)
{
    const struct progress_display *display = context;
    char line[200];
    snprintf(line, sizeof line, "waiting %" PRId64 " s: %.100s", ms / 1000, reason);
    if (display->terminal >= 0)
        show_line(display, line);
    else
        log_write(LEVEL_INFO, "msg=waiting ms=%" PRId64 " reason=\"%.200s\"", ms, reason);
}

static void print_backfill_json(const struct backfill_options *options, const struct backfill_report *report)
{
    struct json_object *json = output_new();
    output_us(json, "since", report->since_us);
    output_us(json, "from", report->from_us);
    output_us(json, "until", report->until_us);
    output_bool(json, "dry_run", options->order.dry_run);
    output_bool(json, "went_on", report->went_on);
    output_bool(json, "beyond_what_close_keeps", report->beyond);
    output_number(json, "windows", report->counts.windows);
    output_number(json, "pages", report->counts.pages);
    output_number(json, "requests", report->requests);
    output_number(json, "events", report->counts.events);
    output_number(json, "new", report->counts.fresh - report->counts.hidden);
    output_number(json, "known", report->counts.known);
    output_number(json, "uncovered", report->counts.uncovered);
    output_number(json, "hidden", report->counts.hidden);
    output_number(json, "unusable", report->counts.unusable);
    output_print(json);
}

static void print_backfill_text(const struct backfill_options *options, const struct backfill_report *report)
{
    char from[DATE_PRINTED], until[DATE_PRINTED];
    const struct import_counts *counts = &report->counts;
    printf("from %.19s until %.19s: %" PRIu64 " event%s in %" PRIu64 " window%s\n",
           times_print(report->from_us, DATE_MILLISECONDS, from),
           times_print(report->until_us, DATE_MILLISECONDS, until), counts->events, text_plural(counts->events),
           counts->windows, text_plural(counts->windows));
    printf("  new: %" PRIu64 "%s\n", counts->fresh - counts->hidden,
           options->order.dry_run ? " (a dry run: nothing was put into the queue)" : ", in the queue now");
    printf("  known already: %" PRIu64 "\n", counts->known);
    if (counts->uncovered > 0)
        printf("  not covered by the source's subscriptions: %" PRIu64 " (--all-events takes them too)\n",
               counts->uncovered);
    if (counts->unusable > 0)
        printf("  unusable: %" PRIu64 " (the log has the reasons)\n", counts->unusable);
}

static int print_backfill(const struct backfill_options *options, const struct backfill_report *report,
                          int64_t remembered_ms)
{
    if (report->went_on)
        fprintf(stderr, "backfill: went on where the last run had stopped (--again begins anew)\n");
    if (report->beyond)
        fprintf(
            stderr,
            "backfill: Close keeps its Event Log for %d days: what is older cannot be had, and was not looked for\n",
            EVENT_LOG_DAYS);
    if (remembered_ms < report->until_us / 1000 - report->from_us / 1000)
        fprintf(stderr, "backfill: dedupe_window is shorter than the time asked for: what was delivered before that is "
                        "sent again, with the same messageId\n");
    if (options->json)
        print_backfill_json(options, report);
    else
        print_backfill_text(options, report);
    if (report->counts.hidden == 0)
        return COMMAND_OK;
    fprintf(stderr,
            "backfill: Close did not show the data of %" PRIu64 " event%s to this API key, which %s not sent: use an "
            "administrator's close_api_key and run this again with --again\n",
            report->counts.hidden, text_plural(report->counts.hidden), report->counts.hidden == 1 ? "was" : "were");
    return COMMAND_FAILED;
}

static void warn_of_file(const struct close_session *session)
{
    if (strncmp(session->source->data_plane_url, "file:", 5) == 0)
        fprintf(stderr,
                "backfill: what goes into a file is not remembered: what was written before is written again\n");
}

static int run_backfill(struct close_session *session, struct backfill_options *options)
{
    struct progress_display display;
    struct backfill_report report;
    struct error why = {0};
    open_display(&display);
    options->order.stop_fd = -1;
    options->order.patience_ms = BACKFILL_PATIENCE_MS;
    options->order.progress = show_progress;
    options->order.waits = show_waiting;
    options->order.context = &display;
    enum import_result result =
        backfill_run(session->config, session->source, session->queue, &options->order, &report, &why);
    close_session_release(session);
    close_display(&display);
    return result == IMPORT_DONE ? print_backfill(options, &report, session->config->dedupe_window_ms)
                                 : close_session_failed(session, &why);
}

int command_backfill(int argc, char **argv)
{
    struct backfill_options options = {.source = NULL};
    struct backfill_order *order = &options.order;
    struct error why = {0};
    const struct option_spec specs[] = {
        {"--source", &options.source, NULL},        {"--since", &order->since, NULL},
        {"--until", &order->until, NULL},           {"--object-type", &order->filter.object_type, NULL},
        {"--action", &order->filter.action, NULL},  {"--lead", &order->filter.lead_id, NULL},
        {"--all-events", NULL, &order->all_events}, {"--again", NULL, &order->again},
        {"--dry-run", NULL, &order->dry_run},       {"--json", NULL, &options.json},
        {"--identify", NULL, &order->identify},
    };
    if (!options_read(argc, argv, specs, sizeof specs / sizeof *specs, NULL))
        return COMMAND_USAGE;
    if (order->since == NULL)
        return options_wrong(argv[0], "since when? --since 2026-11-01, or --since 7d");
    if (!backfill_check_times(order, clock_unix_ms() * 1000, &why))
        return options_wrong(argv[0], "%s", why.text);
    struct close_session session;
    int code = close_session_open(&session, argv[0], options.source);
    if (code == COMMAND_OK) {
        warn_of_file(&session);
        code = close_session_open_queue(&session);
    }
    if (code == COMMAND_OK)
        code = run_backfill(&session, &options);
    close_session_close(&session);
    return code;
}
