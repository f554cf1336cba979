/* cron and forward: what time requires and what is due, done once by a command, for where no process of the program is
 * always there. cron says nothing when all is well, for cron mails what is said; else one line for each problem, once
 * per alert_interval, and one when it is over. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/escape.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "closeapi/closeapi.h"
#include "commands/commands.h"
#include "commands/commands_private.h"
#include "config/config.h"
#include "health/alerts.h"
#include "health/write_probe.h"
#include "kept/kept.h"
#include "process/process.h"
#include "telemetry/telemetry.h"

#define SECONDS_DEFAULT 50 /* a crontab line for every minute */
#define SECONDS_MOST 86400

/* One run. */
struct cron_run {
    const struct config *config;
    struct cron_mark mark;
    char *noted, *shared; /* which dead letters were told of: this machine's note, and that of all; NULL: none */
    struct buffer told;   /* what is to be noted for each source; "": there is one database */
    struct cron_report *report;
};

/* ---- which dead letters were told of: where several machines share a queue, one tells of each. The newest one's id is
 * noted; where sources are in databases of their own, whose ids count each for itself, that of each source behind it,
 * in lines "ID SOURCE". ---- */

/* Up to which letter of a source was told, as this text has it. */
static uint64_t letter_of(const char *noted, const char *source)
{
    for (const char *line = noted; line != NULL && *line != '\0'; line += strcspn(line, "\n") + 1) {
        char *name;
        uint64_t letter = strtoull(line, &name, 10);
        size_t length = strcspn(name, "\n");
        if (*name == ' ' && length == strlen(source) + 1 && memcmp(name + 1, source, length - 1) == 0)
            return letter;
        if (line[strcspn(line, "\n")] == '\0')
            break;
    }
    return 0;
}

/* Without a note each of its letters is told of: rather once more than never. */
static bool read_letters_of_sources(struct cron_run *run, struct facts *facts, struct queue *queue, struct error *why)
{
    bool good = true;
    for (size_t i = 0; i < facts->sources; i++) {
        const char *name = facts->source[i].name;
        uint64_t here = letter_of(run->noted, name), shared = letter_of(run->shared, name);
        uint64_t letter = here > shared ? here : shared;
        struct error fault;
        if (!facts_read_letters(facts, queue, name, &letter, &fault)) {
            *why = fault;
            good = false;
        }
        run->mark.letter = letter > run->mark.letter ? letter : run->mark.letter;
        write_format(&run->told, "%020llu %s\n", (unsigned long long)letter, name);
    }
    return good;
}

static bool read_new_letters(struct cron_run *run, struct facts *facts, struct queue *queue, struct error *why)
{
    return config_has_several_queues(run->config) ? read_letters_of_sources(run, facts, queue, why)
                                                  : facts_read_letters(facts, queue, NULL, &run->mark.letter, why);
}

/* works: the queue could be used until now; why says why not. Returns the facts; NULL: memory is out. */
static struct facts *look_for_problems(struct cron_run *run, bool works, struct error *why)
{
    bool looks = works || config_has_several_queues(run->config); /* some of them may answer: it says which do not */
    struct queue *queue = looks ? queue_open(run->config, why) : NULL;
    struct facts *facts = facts_gather(run->config, queue, why, NULL, clock_unix_ms());
    bool good = facts != NULL;
    facts_add_others(facts);
    if (good && queue != NULL && !read_new_letters(run, facts, queue, why))
        cron_report_trouble(run->report, why->text);
    queue_close(queue);
    if (good && findings_judge(facts))
        return facts;
    cron_report_trouble(run->report, "out of memory");
    facts_free(facts);
    return NULL;
}

/* Tells by alert_command and alert_webhook_url what is wrong, where no process that lives long does. */
static void alert_if_wrong(const struct config *config)
{
    struct telemetry telemetry;
    telemetry_open(&telemetry, config);
    prober_once(config);
    alert_thread_once(config, &telemetry);
    telemetry_close(&telemetry);
}

static void note_reconciled(void *context, const char *source, const char *words)
{
    struct cron_run *run = context;
    cron_report_reconciled(run->report, source, words);
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
    if (!reconcile_due(config, deadline, note_reconciled, run) && !over)
        return true;
    return bounded_forward(config, deadline, why) != BOUNDED_FAILED; /* what was brought is due, too */
}

#define TOLD "told"
#define TOLD_LETTERS "letters"
#define LETTERS_LOCK "letters.lock"
#define LETTERS_WAIT_MS 20000 /* another machine's cron runs in the same minute */

/* Returns NULL where nothing is shared, or the database is away: then this machine's mark counts. */
static struct kept *begin_letters(struct cron_run *run)
{
    char directory[FILES_PATH];
    struct kept *told = kept_is_shared(run->config) ? kept_open(run->config, NULL) : NULL;
    if (told == NULL)
        return NULL;
    if (!files_make_directory(directory, run->config->state_dir, TOLD, NULL) ||
        !kept_lock(told, directory, LETTERS_LOCK, LETTERS_WAIT_MS, NULL)) {
        kept_close(told);
        return NULL;
    }
    run->shared = files_read(directory, TOLD_LETTERS, NULL, NULL);
    uint64_t letter = run->shared == NULL ? 0 : strtoull(run->shared, NULL, 10);
    run->mark.letter = letter > run->mark.letter ? letter : run->mark.letter;
    return told;
}

/* What stands behind the first line of a note. */
static const char *lines_of(const char *noted)
{
    const char *end = noted == NULL ? NULL : strchr(noted, '\n');
    return end == NULL ? "" : end + 1;
}

/* Notes what was told, here and for all. before: what stood here. Returns false with errno when it cannot be noted
 * here.
 */
static bool end_letters(struct cron_run *run, struct kept *told, bool are_told, uint64_t before)
{
    char directory[FILES_PATH];
    bool looked = run->told.length > 0;
    if (looked)
        buffer_append(&run->told, "", 1);
    looked = looked && !run->told.failed;
    const char *lines = looked ? run->told.data : lines_of(run->noted);
    struct buffer text = {.data = NULL};
    write_format(&text, "%020llu\n%s", (unsigned long long)run->mark.letter, looked ? lines : lines_of(run->shared));
    buffer_append(&text, "", 1);
    if (told != NULL && are_told && !text.failed && files_make_directory(directory, run->config->state_dir, TOLD, NULL))
        kept_put(told, directory, TOLD_LETTERS, text.data, NULL); /* else they are told of twice */
    kept_close(told);
    bool good = cron_mark_write(run->config->state_dir, are_told ? run->mark.letter : before,
                                are_told ? lines : lines_of(run->noted));
    int error = errno;
    buffer_free(&text);
    buffer_free(&run->told);
    free(run->noted);
    free(run->shared);
    errno = error;
    return good;
}

/* What a queue requires that keeps something. */
static void run_once(struct cron_run *run, moment deadline)
{
    struct error why = {0};
    const char *directory = run->config->state_dir;
    if (!session_may_open(run->config, &why)) {
        cron_report_trouble(run->report, why.text);
        cron_report_print(run->report, NULL, NULL);
        return;
    }
    kept_catch_up(run->config, NULL); /* the queue says it, where the database is away */
    cron_mark_read(directory, &run->mark);
    run->noted = files_read(directory, "cron.last", NULL, NULL);
    bool works = forward_and_reconcile(run, deadline, &why);
    machines_exchange(run->config);
    struct kept *told = begin_letters(run);
    uint64_t letter = run->mark.letter;
    struct facts *facts = look_for_problems(run, works, &why);
    alert_if_wrong(run->config);
    configs_note(run->config, NULL);
    bool letters_told = cron_report_print(run->report, facts, directory);
    facts_free(facts);
    if (!end_letters(run, told, letters_told, letter) && cron_report_problems(run->report) == 0) {
        error_set(&why, "cannot write %.400s/cron.last: %s", directory, strerror(errno));
        cron_report_trouble(run->report, why.text);
        cron_report_print(run->report, NULL, directory);
    }
}

/* With queue = none nothing is to be done, but something may be left from before. */
static void tell_what_is_left(struct cron_run *run)
{
    const char *directory = run->config->state_dir;
    struct facts *facts = directory == NULL ? NULL : facts_gather(run->config, NULL, NULL, NULL, clock_unix_ms());
    if (facts != NULL && findings_judge(facts))
        cron_report_print(run->report, facts, directory);
    facts_free(facts);
}

static bool read_seconds(const char *text, uint64_t *seconds)
{
    *seconds = SECONDS_DEFAULT;
    return text == NULL || (text_read_id(text, seconds) && *seconds <= SECONDS_MOST);
}

/* Without a configuration there is no alert_interval: it is told as often as it would be by default. */
static int report_faulty(struct cron_report *report, const struct strings *faults, const struct error *why)
{
    for (size_t i = 0; i < faults->count; i++)
        cron_report_trouble(report, faults->at[i]);
    if (faults->count == 0)
        cron_report_trouble(report, why->text);
    cron_report_print(report, NULL, NULL);
    return COMMAND_CONFIGURATION;
}

int command_cron(int argc, char **argv)
{
    const char *text = NULL;
    uint64_t seconds;
    const struct option_spec specs[] = {{"--seconds", &text, NULL}};
    if (!options_read(argc, argv, specs, 1, NULL))
        return COMMAND_USAGE;
    if (!read_seconds(text, &seconds))
        return options_wrong(argv[0], "--seconds needs a whole number from 1 to %d, not \"%.60s\"", SECONDS_MOST, text);
    moment deadline = clock_now() + (moment)seconds * 1000;
    struct strings faults;
    struct error why = {0};
    struct config *config = config_load_all(&faults, &why);
    struct cron_report *report = cron_report_new(config);
    int code = COMMAND_FAILED;
    if (report == NULL)
        fprintf(stderr, "cron: out of memory\n");
    else if (config == NULL)
        code = report_faulty(report, &faults, &why);
    strings_free(&faults);
    if (report == NULL || config == NULL) {
        cron_report_free(report);
        config_free(config);
        return code;
    }
    log_open(LEVEL_ERROR); /* what is no error is not to be mailed */
    struct cron_run run = {.config = config, .report = report};
    if (config->queue != QUEUE_NONE)
        run_once(&run, deadline);
    else
        tell_what_is_left(&run);
    bool good = cron_report_problems(report) == 0;
    cron_report_free(report);
    config_free(config);
    return good ? COMMAND_OK : COMMAND_FAILED;
}

/* ---- forward: delivers what is due and ends, or (--follow) goes on until it is stopped ---- */

static int forward_once(const struct config *config)
{
    struct error why = {0};
    process_unblock_signals();
    switch (bounded_forward(config, MOMENT_NEVER, &why)) {
    case BOUNDED_DONE:
    case BOUNDED_LATE:
        return COMMAND_OK;
    case BOUNDED_ELSEWHERE:
        printf("Nothing is left to do here: %s.\n", why.text);
        return COMMAND_OK;
    case BOUNDED_STOPPED:
        break;
    case BOUNDED_FAILED:
        fprintf(stderr, "forward: %s\n", why.text);
        return COMMAND_STATE;
    }
    return COMMAND_FAILED;
}

static bool has_queue(const struct config *config, struct error *why)
{
    if (config->queue == QUEUE_NONE)
        error_set(why, "queue = none keeps nothing that could be forwarded later");
    return config->queue != QUEUE_NONE;
}

int command_forward(int argc, char **argv)
{
    bool follow = false;
    const struct option_spec specs[] = {{"--follow", NULL, &follow}};
    if (!options_read(argc, argv, specs, 1, NULL))
        return COMMAND_USAGE;
    if (follow)
        process_block_signals(); /* one to reload that comes now is not to end it: daemon_follow takes it */
    struct error why = {0};
    struct config *config = session_configuration(argv[0]);
    int code = COMMAND_CONFIGURATION;
    if (config == NULL)
        return code;
    if (!has_queue(config, &why)) {
        session_failed(argv[0], &why);
    } else if (!session_may_open(config, &why)) {
        session_failed(argv[0], &why);
        code = COMMAND_STATE;
    } else if (follow) {
        char *const again[] = {NULL, (char[]){"forward"}, (char[]){"--follow"}, NULL};
        code = daemon_follow(again);
    } else {
        log_open(config->log_level);
        code = forward_once(config);
    }
    config_free(config);
    return code;
}
