/* cron: all that time requires, for where no process of the program is always there. It says nothing when all is well,
 * for cron mails what is said; else one line for each problem. */
#include "commands/commands.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/escape.h"
#include "base/log.h"
#include "closeapi/closeapi.h"
#include "commands/options.h"
#include "commands/session.h"
#include "config/config.h"
#include "health/alert_thread.h"
#include "health/report.h"
#include "health/write_probe.h"
#include "process/bounded.h"
#include "telemetry/telemetry.h"

#define SECONDS_DEFAULT 50 /* a crontab line for every minute */
#define SECONDS_MOST 86400
#define DAY_MS INT64_C(86400000)

/* One run. Problems are told as they are found. */
struct cron_run {
    const struct config *config;
    struct cron_mark mark;
    size_t problems; /* what somebody should only look at is told and is none, as to `check` */
};

static void tell(const char *source, const char *words)
{
    fprintf(stderr, "cron: %s%s%s", source[0] != '\0' ? "source " : "", source, source[0] != '\0' ? ": " : "");
    plain_write(stderr, words, strlen(words)); /* some are the data plane's */
    fputc('\n', stderr);
}

static void tell_problem(struct cron_run *run, const char *source, const char *words)
{
    tell(source, words);
    run->problems++;
}

/* All that is found, but what lasts for long only in the first run of a day. */
static void tell_findings(struct cron_run *run, const struct facts *facts)
{
    char line[REPORT_SIZE];
    bool is_first = run->mark.ran_ms / DAY_MS != facts->now_ms / DAY_MS;
    enum finding_view view = is_first ? VIEW_CRON | VIEW_CRON_DAILY : VIEW_CRON;
    for (const struct finding *one = NULL; (one = report_next(facts, one, view)) != NULL;) {
        tell(one->source == NULL ? "" : one->source->name, report_line(one, line));
        run->problems += one->severity == SEVERITY_BAD;
    }
}

/* works: the queue could be used until now; why says why not. */
static void look_for_problems(struct cron_run *run, bool works, struct error *why)
{
    struct queue *queue = works ? queue_open(run->config, why) : NULL;
    struct facts *facts = facts_gather(run->config, queue, why, NULL, clock_unix_ms());
    bool good = facts != NULL;
    if (good && queue != NULL && !facts_read_letters(facts, queue, &run->mark.letter, why))
        tell_problem(run, "", why->text);
    queue_close(queue);
    if (good && findings_judge(facts))
        tell_findings(run, facts);
    else
        tell_problem(run, "", "out of memory");
    facts_free(facts);
}

/* Runs the alert command for what is wrong, where no process that lives long does. */
static void alert_if_wrong(const struct config *config)
{
    struct telemetry telemetry;
    telemetry_open(&telemetry, config);
    prober_once(config);
    alert_thread_once(config, &telemetry);
    telemetry_close(&telemetry);
}

static void tell_trouble(void *context, const char *source, const char *words)
{
    tell_problem(context, source, words);
}

/* Forwards and reconciles until the deadline. Where something is to be reconciled, a backlog that takes all the time
 * gets half of it at first. Another process that forwards or reconciles already does so for this one, too. Returns
 * false with the reason when the queue cannot be opened. */
static bool forward_and_reconcile(struct cron_run *run, moment deadline, struct error *why)
{
    const struct config *config = run->config;
    moment first = deadline;
    if (reconciler_is_wanted(config))
        first -= (deadline - clock_now()) / 2;
    if (bounded_forward(config, first, why) == BOUNDED_FAILED)
        return false;
    bool over = first < deadline && clock_now() >= first;
    if (!reconcile_due(config, deadline, tell_trouble, run) && !over)
        return true;
    return bounded_forward(config, deadline, why) != BOUNDED_FAILED; /* what was brought is due, too */
}

/* What a queue requires that keeps something. */
static void run_once(struct cron_run *run, moment deadline)
{
    struct error why = {0};
    const char *directory = run->config->state_dir;
    if (!session_may_open(run->config, &why)) {
        tell_problem(run, "", why.text);
        return;
    }
    cron_mark_read(directory, &run->mark);
    bool works = forward_and_reconcile(run, deadline, &why);
    look_for_problems(run, works, &why);
    if (!cron_mark_write(directory, run->mark.letter) && run->problems == 0) {
        error_set(&why, "cannot write %.400s/cron.last: %s", directory, strerror(errno));
        tell_problem(run, "", why.text);
    }
    alert_if_wrong(run->config);
}

static bool read_seconds(const char *text, long *seconds)
{
    char *end;
    *seconds = SECONDS_DEFAULT;
    if (text == NULL)
        return true;
    *seconds = strtol(text, &end, 10);
    return end != text && *end == '\0' && *seconds > 0 && *seconds <= SECONDS_MOST;
}

int command_cron(int argc, char **argv)
{
    const char *text = NULL;
    long seconds;
    const struct option_spec specs[] = {{"--seconds", &text, NULL}};
    if (!options_read(argc, argv, specs, 1, NULL))
        return COMMAND_USAGE;
    if (!read_seconds(text, &seconds))
        return options_wrong(argv[0], "--seconds needs a whole number from 1 to %d", SECONDS_MOST);
    moment deadline = clock_now() + (moment)seconds * 1000;
    struct config *config = session_configuration(argv[0]);
    if (config == NULL)
        return COMMAND_CONFIGURATION;
    log_open(LEVEL_ERROR); /* what is no error is not to be mailed */
    struct cron_run run = {.config = config};
    if (config->queue != QUEUE_NONE)
        run_once(&run, deadline);
    config_free(config);
    return run.problems == 0 ? COMMAND_OK : COMMAND_FAILED;
}
