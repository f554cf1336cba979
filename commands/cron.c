/* cron: all that time requires, for where no process of the program is always there. It says nothing when all is well,
 * for cron mails what is said; else one line for each problem. */
#include "base/clock.h"
#include "base/log.h"
#include "base/no_room.h"
#include "base/times.h"
#include "closeapi/closeapi.h"
#include "commands/commands.h"
#include "commands/options.h"
#include "commands/session.h"
#include "config/config.h"
#include "config/signed.h"
#include "health/alert_thread.h"
#include "health/write_probe.h"
#include "process/bounded.h"
#include "queue/inspect.h"
#include "telemetry/cron_mark.h"
#include "telemetry/telemetry.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define SECONDS_DEFAULT 50 /* a crontab line for every minute */
#define SECONDS_MOST 86400
#define DAY_MS INT64_C(86400000)
#define OLD_MS ((int64_t)60 * 60 * 1000)            /* an event that waits longer is a problem */
#define DISK_LEAST ((uint64_t)32 * 1024 * 1024)     /* bytes free */
#define LETTERS_AT_ONCE 256                         /* read at once, ... */
#define LETTERS_BYTES_AT_ONCE ((size_t)1024 * 1024) /* ... and their bytes */

/* What is found wrong. Problems are told as they are found. */
struct findings {
    const struct config *config;
    struct queue *queue;
    struct cron_mark mark;
    size_t problems;
    bool no_room; /* it was said already */
};

static void problem(struct findings *findings, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void problem(struct findings *findings, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("cron: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    findings->problems++;
}

/* Words of the data plane, or of the queue. */
static const char *quoted(char out[static LOG_QUOTED], const char *text)
{
    return log_quote(out, text, strlen(text));
}

/* Once a day: it is so for a week. */
static void look_at_end(const struct counts *counts, struct findings *findings, const char *source)
{
    char date[WHEN_SIZE];
    if (counts->ending > 0 && findings->mark.ran_ms / DAY_MS != clock_unix_ms() / DAY_MS)
        problem(findings,
                "source %s: %llu dead letters end from %s on (dead_retention): replay them, or keep a copy: "
                "closecrm.fcgi backup FILE",
                source, (unsigned long long)counts->ending, times_print_utc(counts->ending_ms, date));
}

static void look_at_source(struct findings *findings, const char *source)
{
    struct error why = {0};
    struct counts counts;
    struct notes notes;
    char words[LOG_QUOTED];
    if (!queue_count(findings->queue, source, &counts, &why) || !queue_notes(findings->queue, source, &notes, &why)) {
        problem(findings, "source %s: %s", source, why.text);
        return;
    }
    look_at_end(&counts, findings, source);
    if (notes.operator_must_act && counts.waiting > 0) {
        problem(findings, "source %s: %llu events wait until you act: %s", source, (unsigned long long)counts.waiting,
                quoted(words, notes.reason));
        return;
    }
    int64_t age_ms = counts.oldest_received_ms > 0 ? clock_unix_ms() - counts.oldest_received_ms : 0;
    if (age_ms >= OLD_MS)
        problem(findings, "source %s: %llu events wait, the oldest for %lld minutes%s%s", source,
                (unsigned long long)counts.waiting, (long long)(age_ms / 60000), notes.reason[0] != '\0' ? ": " : "",
                notes.reason[0] != '\0' ? quoted(words, notes.reason) : "");
}

/* Every source that the queue knows: events of one that is configured no more wait, too. */
static void look_at_sources(struct findings *findings)
{
    struct error why = {0};
    struct strings names;
    if (!queue_names(findings->queue, &names, &why))
        problem(findings, "%s", why.text);
    for (size_t i = 0; i < names.count; i++)
        look_at_source(findings, names.at[i]);
    queue_names_free(&names);
}

static void look_at_letters(struct findings *findings)
{
    struct error why = {0};
    struct letters found = {0};
    char words[LOG_QUOTED], last[LOG_QUOTED + 128] = "";
    size_t count = 0;
    int n;
    while ((n = queue_letters(findings->queue, NULL, findings->mark.letter, LETTERS_AT_ONCE, LETTERS_BYTES_AT_ONCE,
                              &found, &why)) > 0) {
        const struct letter *newest = &found.at[n - 1];
        count += (size_t)n;
        snprintf(last, sizeof last, "source %.64s: %s", newest->source, quoted(words, newest->reason));
        findings->mark.letter = newest->id;
    }
    if (n < 0)
        problem(findings, "%s", why.text);
    if (count > 0)
        problem(findings, "%zu new dead letters, the last of %s; `closecrm.fcgi dead list` shows them", count, last);
    letters_free(&found);
}

static void look_at_disk(struct findings *findings)
{
    struct statvfs disk;
    const char *directory = findings->config->state_dir;
    int error = no_room_predict(directory);
    if (error != 0 && !findings->no_room)
        problem(findings, "%s: %s: %s; Close keeps new events meanwhile, for 72 hours", directory, no_room_words(error),
                no_room_advice(error));
    if (error != 0 || findings->no_room || statvfs(directory, &disk) != 0)
        return;
    uint64_t left = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (left < DISK_LEAST)
        problem(
            findings,
            "the disk of %s is nearly full (%llu KiB are left): make room. Once it is full, new events are refused, "
            "and Close keeps them for 72 hours",
            directory, (unsigned long long)(left / 1024));
}

static void look_at_keys(struct findings *findings)
{
    for (size_t i = 0; i < findings->config->sources; i++) {
        struct error words = {0};
        enum signed_state state = signed_look(findings->config, &findings->config->source[i], &words);
        if (state == SIGNED_PART || state == SIGNED_LOST)
            problem(findings, "%s", words.text);
    }
}

static void look_at_left_over(struct findings *findings)
{
    char name[256];
    if (closeapi_left_over(findings->config, name))
        problem(
            findings,
            "source %s is not in the configuration any more: if it was renamed, closecrm.fcgi queue move %s NEW; if it "
            "is gone, rm -r '%s/closeapi/%s'; until then a new source is not reconciled by itself",
            name, name, findings->config->state_dir, name);
}

static void look(struct findings *findings)
{
    struct error why = {0};
    findings->queue = queue_open(findings->config, &why);
    if (findings->queue == NULL) {
        problem(findings, "%s", why.text);
        return;
    }
    findings->no_room = !queue_has_room(findings->queue, &why);
    if (findings->no_room)
        problem(findings, "nothing new is accepted, and Close keeps its events meanwhile, for 72 hours: %s", why.text);
    if (!queue_can_be_settled(findings->queue, &why))
        problem(findings, "what waits is not sent, for it could not be noted as delivered: %s", why.text);
    look_at_sources(findings);
    look_at_keys(findings);
    look_at_left_over(findings);
    look_at_letters(findings);
    queue_close(findings->queue);
}

/* Runs the alert command for what is wrong, where no process that lives long does. */
static void alert(const struct config *config)
{
    struct watchers watchers;
    watching_open(&watchers, config);
    prober_once(config);
    alerting_once(config, &watchers);
    watching_close(&watchers);
}

static void tell_trouble(void *context, const char *source, const char *words)
{
    problem(context, "source %s: %s", source, words);
}

/* Forwards and reconciles until the deadline. Where something is to be reconciled, a backlog that takes all the time
 * gets half of it at first. Another process that forwards or reconciles already does so for this one, too. Returns
 * false with the reason when the queue cannot be opened. */
static bool work(struct findings *findings, moment deadline, struct error *why)
{
    const struct config *config = findings->config;
    moment first = deadline;
    if (reconciler_is_wanted(config))
        first -= (deadline - clock_now()) / 2;
    if (bounded_forward(config, first, why) == BOUNDED_FAILED)
        return false;
    bool over = first < deadline && clock_now() >= first;
    if (!reconcile_due(config, deadline, tell_trouble, findings) && !over)
        return true;
    return bounded_forward(config, deadline, why) != BOUNDED_FAILED; /* what was brought is due, too */
}

/* What a queue requires that keeps something. */
static void keep(struct findings *findings, moment deadline)
{
    struct error why = {0};
    const char *directory = findings->config->state_dir;
    if (!session_may_open(findings->config, &why)) {
        problem(findings, "%s", why.text);
        return;
    }
    cron_mark_read(directory, &findings->mark);
    if (work(findings, deadline, &why))
        look(findings);
    else
        problem(findings, "%s", why.text);
    look_at_disk(findings);
    if (!cron_mark_write(directory, findings->mark.letter) && findings->problems == 0)
        problem(findings, "cannot write %s/cron.last: %s", directory, strerror(errno));
    alert(findings->config);
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
    struct error why = {0};
    struct config *config = config_load(&why);
    if (config == NULL) {
        fprintf(stderr, "cron: %s\n", why.text);
        return COMMAND_CONFIGURATION;
    }
    log_open(LEVEL_ERROR); /* what is no error is not to be mailed */
    struct findings findings = {.config = config};
    if (config->queue != QUEUE_NONE)
        keep(&findings, deadline);
    config_free(config);
    return findings.problems == 0 ? COMMAND_OK : COMMAND_FAILED;
}
