/* dead list, dead replay, dead drop: the commands on dead letters, and the filters by which they are chosen. */
#include "commands/commands_private.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/escape.h"
#include "base/text.h"
#include "base/times.h"
#include "commands/commands.h"

#define PAGE_BYTES ((size_t)8 << 20)
#define OPTIONS_MOST 16

/* ---- the filters on the command line ---- */

static int compare_ids(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return (one > other) - (one < other);
}

static bool read_ids(struct dead_filter *filter, const char *command, char **texts, int count)
{
    if (count == 0)
        return true;
    filter->ids = calloc((size_t)count, sizeof *filter->ids);
    if (filter->ids == NULL) {
        options_wrong(command, "out of memory");
        return false;
    }
    for (int i = 0; i < count; i++) {
        if (!text_read_id(texts[i], &filter->ids[i])) {
            options_wrong(command, "%s is no number of a dead letter, as `dead list` shows them", texts[i]);
            return false;
        }
    }
    qsort(filter->ids, (size_t)count, sizeof *filter->ids, compare_ids);
    for (int i = 0; i < count; i++) {
        if (i == 0 || filter->ids[i] != filter->ids[filter->id_count - 1])
            filter->ids[filter->id_count++] = filter->ids[i];
    }
    return true;
}

static bool read_moment(const char *command, const char *option, const char *text, int64_t now_ms, int64_t *ms)
{
    if (text == NULL || times_read_point(text, now_ms, ms))
        return true;
    options_wrong(command, "%s must be a date (2026-11-24T20:45:00Z) or how long ago (90s, 15m, 2h, 7d): %s", option,
                  text);
    return false;
}

static bool read_period(struct dead_filter *filter, const char *command)
{
    int64_t now_ms = clock_unix_ms();
    if (!read_moment(command, "--since", filter->since, now_ms, &filter->since_ms) ||
        !read_moment(command, "--until", filter->until, now_ms, &filter->until_ms))
        return false;
    if (filter->since_ms <= filter->until_ms)
        return true;
    options_wrong(command, "--since %.60s is later than --until %.60s: nothing can fit", filter->since, filter->until);
    return false;
}

/* A pattern without a letter would mean all, which `--all` is for. */
static bool read_event_pattern(const char *command, const char *text)
{
    bool names = text == NULL;
    for (const char *c = text; c != NULL && *c != '\0'; c++)
        names = names || isalnum((unsigned char)*c);
    if (!names)
        options_wrong(command, "--event must name events like lead.updated or lead.*: \"%.60s\" would be all", text);
    return names;
}

/* Reads a command line with the filters' options, those in more, and ids. Returns false when it is wrong, and stderr
 * says how. Free with dead_filter_free either way. */
static bool dead_filter_read(struct dead_filter *filter, int argc, char **argv, const struct option_spec *more,
                             size_t more_count)
{
    const struct option_spec own[] = {
        {"--source", &filter->source, NULL}, {"--reason", &filter->reason, NULL}, {"--event", &filter->event, NULL},
        {"--lead", &filter->lead, NULL},     {"--since", &filter->since, NULL},   {"--until", &filter->until, NULL},
    };
    struct option_spec specs[OPTIONS_MOST];
    size_t count = sizeof own / sizeof *own;
    int arguments;
    *filter = (struct dead_filter){.since_ms = INT64_MIN, .until_ms = INT64_MAX};
    memcpy(specs, own, sizeof own);
    for (size_t i = 0; i < more_count && count < OPTIONS_MOST; i++)
        specs[count++] = more[i];
    return options_read_all(argc, argv, specs, count, &arguments) && read_event_pattern(argv[0], filter->event) &&
           read_period(filter, argv[0]) && read_ids(filter, argv[0], argv + 1, arguments);
}

/* Whether any filter or id was given. */
static bool dead_filter_is_any(const struct dead_filter *filter)
{
    return filter->source != NULL || filter->reason != NULL || filter->event != NULL || filter->lead != NULL ||
           filter->since != NULL || filter->until != NULL || filter->id_count > 0;
}

static void dead_filter_free(struct dead_filter *filter)
{
    free(filter->ids);
    filter->ids = NULL;
    filter->id_count = 0;
}

/* ---- walking ---- */

/* The cheap tests: those that need nothing of the body. */
static bool may_match(const struct dead_filter *filter, const struct letter *letter)
{
    if (filter->last != 0 && letter->id > filter->last)
        return false;
    if (filter->id_count > 0 &&
        bsearch(&letter->id, filter->ids, filter->id_count, sizeof *filter->ids, compare_ids) == NULL)
        return false;
    if (filter->reason != NULL && strcasestr(letter->reason, filter->reason) == NULL)
        return false;
    return letter->died_ms >= filter->since_ms && letter->died_ms <= filter->until_ms;
}

static bool matches_headline(const struct dead_filter *filter, const struct headline *headline)
{
    if (filter->event != NULL && !headline_matches(headline, filter->event))
        return false;
    return filter->lead == NULL || (headline->lead != NULL && strcmp(headline->lead, filter->lead) == 0);
}

/* The letters of a page that match. */
struct dead_matches {
    const struct letter *letter[DEAD_PAGE_MOST];
    struct headline headline[DEAD_PAGE_MOST];
    size_t count;
};

static void choose_letters(const struct dead_filter *filter, const struct letters *letters,
                           struct dead_matches *matches)
{
    matches->count = 0;
    for (size_t i = 0; i < letters->count; i++) {
        const struct letter *letter = &letters->at[i];
        struct headline *headline = &matches->headline[matches->count];
        if (!may_match(filter, letter))
            continue;
        headline_read(headline, letter->body, letter->length);
        if (matches_headline(filter, headline))
            matches->letter[matches->count++] = letter;
    }
}

/* Sets *after, the id to read on behind, and returns how many letters to read: where ids were given, only those. 0: the
 * end. */
static size_t next_ids(const struct dead_filter *filter, uint64_t *after)
{
    if (filter->last != 0 && *after >= filter->last)
        return 0;
    if (filter->id_count == 0)
        return DEAD_PAGE_MOST;
    size_t i = 0;
    while (i < filter->id_count && filter->ids[i] <= *after)
        i++;
    if (i == filter->id_count)
        return 0;
    *after = filter->ids[i] - 1;
    size_t run = 1; /* ids that follow one another are read at once */
    while (run < DEAD_PAGE_MOST && i + run < filter->id_count && filter->ids[i + run] == filter->ids[i] + run)
        run++;
    return run;
}

/* A misspelt name would look like a source without dead letters. */
static bool queue_has_source(struct queue *queue, const char *source, struct error *why)
{
    bool known = true;
    if (source != NULL && !session_knows_source(queue, source, &known, why))
        return false;
    if (!known)
        error_set(why, "the queue knows no source %.64s", source);
    return known;
}

bool dead_filter_walk(struct queue *queue, struct dead_filter *filter,
                      bool (*page)(void *context, const struct dead_page *found, struct error *why), void *context,
                      struct error *why)
{
    struct letters letters = {NULL, 0, 0, {NULL, 0, 0, false}};
    struct dead_matches *matches = calloc(1, sizeof *matches);
    uint64_t after = 0;
    size_t most;
    if (matches == NULL)
        error_set(why, "out of memory");
    bool good = matches != NULL && queue_has_source(queue, filter->source, why);
    filter->ids_found = 0;
    while (good && (most = next_ids(filter, &after)) > 0) {
        int found = queue_letters(queue, filter->source, after, most, PAGE_BYTES, &letters, why);
        good = found >= 0;
        if (found <= 0)
            break;
        choose_letters(filter, &letters, matches);
        filter->ids_found += matches->count;
        const struct dead_page some = {matches->letter, matches->headline, matches->count};
        good = some.count == 0 || page(context, &some, why);
        after = letters.at[letters.count - 1].id;
    }
    free(matches);
    letters_free(&letters);
    return good;
}

/* ---- dead list: the dead letters that match the filters, oldest first, each with its reason ---- */

struct dead_listing {
    struct queue *queue;
    bool json;
    size_t lines;
};

static void print_letter(struct dead_listing *list, const struct letter *letter, const struct headline *headline)
{
    char date[WHEN_SIZE];
    if (list->lines++ == 0)
        printf("%-8s %-24s %9s %-12s %-28s %-28s %-48s %s\n", "ID", "DIED", "BYTES", "SOURCE", "EVENT", "EVENT-ID",
               "LEAD", "REASON");
    printf("%-8" PRIu64 " %-24s %9zu ", letter->id, times_print_utc(letter->died_ms, date), letter->length);
    plain_column(stdout, letter->source, 13);
    plain_column(stdout, headline->name, 29);
    plain_column(stdout, headline->id, 29);
    plain_column(stdout, headline->lead, 49);
    fputs(letter->replayed ? "(on its way again) " : "", stdout);
    plain_column(stdout, letter->reason, 0);
    putchar('\n');
}

static void print_letter_json(const struct letter *letter, const struct headline *headline)
{
    struct json_object *element = output_event(letter->id, letter->source, headline, letter->length);
    output_ms(element, "received", letter->received_ms);
    output_ms(element, "died", letter->died_ms);
    output_text(element, "reason", letter->reason);
    output_bool(element, "replayed", letter->replayed);
    output_print(element);
}

/* Ends the walk without a reason once stdout takes no more: a pager may be closed before the end. */
static bool print_dead_page(void *context, const struct dead_page *found, struct error *why)
{
    struct dead_listing *list = context;
    (void)why;
    queue_rest(list->queue);
    for (size_t i = 0; i < found->count; i++) {
        if (list->json)
            print_letter_json(found->letter[i], &found->headline[i]);
        else
            print_letter(list, found->letter[i], &found->headline[i]);
    }
    return !ferror(stdout);
}

int command_dead_list(int argc, char **argv)
{
    struct dead_filter filter;
    struct dead_listing list = {.json = false};
    const struct option_spec specs[] = {{"--json", NULL, &list.json}};
    struct session session;
    struct error why = {0};
    int code;
    if (!dead_filter_read(&filter, argc, argv, specs, 1)) {
        code = COMMAND_USAGE;
    } else if (session_open(&session, argv[0])) {
        list.queue = session.queue;
        bool good = dead_filter_walk(session.queue, &filter, print_dead_page, &list, &why);
        bool is_whole = !good || filter.ids_found == filter.id_count || filter.id_count == 0; /* or cut by a pager */
        good = good || why.text[0] == '\0';
        if (good && !list.json && list.lines == 0 && is_whole)
            fputs("no dead letter fits\n", stderr);
        if (good && !is_whole)
            error_set(&why, "%zu of the %zu that were named are not there, or do not fit",
                      filter.id_count - filter.ids_found, filter.id_count);
        code = good && is_whole ? COMMAND_OK : session_failed(argv[0], &why);
        code = session_missed(&session, argv[0], filter.source, code);
        session_close(&session);
    } else {
        code = session.code;
    }
    dead_filter_free(&filter);
    return code;
}

/* ---- dead replay and dead drop: both count first, then act in steps, each a transaction of its own: an interrupted
 * command has done whole steps, and called again it does the rest. Letters whose replay is under way are skipped:
 * whether they will be delivered is not known yet. ---- */

/* How the two commands differ. */
struct dead_action {
    bool (*act)(struct queue *queue, const uint64_t *ids, size_t count, size_t *done, struct error *why);
    bool asks;     /* for confirmation: it cannot be undone */
    bool forwards; /* needs a configured source, else a replayed event waits for ever */
    const char *would, *doing, *did;
};

static const struct dead_action replay_action = {queue_replay,        false,       true,
                                                 "would be replayed", "replaying", "replayed"};
static const struct dead_action drop_action = {queue_discard, true, false, "would be dropped", "dropping", "dropped"};

struct dead_work {
    const struct dead_action *action;
    struct session session;
    struct dead_filter filter;
    bool all, dry_run, yes;
    bool shows_progress;
    uint64_t wanted; /* letters that were counted */
    uint64_t on_their_way;
    uint64_t sourceless;      /* letters of sources that are not configured, left alone */
    char sourceless_name[65]; /* one of these */
    uint64_t last;            /* the highest id among them */
    uint64_t done;
    uint64_t taken; /* of those wanted: another command was faster */
};

static bool is_left_alone(const struct dead_work *work, const struct letter *letter)
{
    return work->action->forwards && config_source(work->session.config, letter->source) == NULL;
}

static bool count_page(void *context, const struct dead_page *found, struct error *why)
{
    struct dead_work *work = context;
    (void)why;
    for (size_t i = 0; i < found->count; i++) {
        if (found->letter[i]->replayed) {
            work->on_their_way++;
        } else if (is_left_alone(work, found->letter[i])) {
            work->sourceless++;
            snprintf(work->sourceless_name, sizeof work->sourceless_name, "%.64s", found->letter[i]->source);
        } else {
            work->wanted++;
        }
        work->last = found->letter[i]->id;
    }
    return true;
}

static bool act_on_page(void *context, const struct dead_page *found, struct error *why)
{
    struct dead_work *work = context;
    uint64_t ids[DEAD_PAGE_MOST];
    size_t count = 0, done = 0;
    for (size_t i = 0; i < found->count && count < DEAD_PAGE_MOST; i++) {
        if (!found->letter[i]->replayed && !is_left_alone(work, found->letter[i]))
            ids[count++] = found->letter[i]->id;
    }
    if (count > 0 && !work->action->act(work->session.queue, ids, count, &done, why))
        return false;
    work->done += done;
    if (work->shows_progress) /* on a terminal, which may be stopped */
        queue_rest(work->session.queue);
    if (work->shows_progress)
        fprintf(stderr, "\r%s: %" PRIu64 " of %" PRIu64 " ", work->action->doing, work->done, work->wanted);
    return true;
}

/* Asks on the terminal. Returns COMMAND_OK for yes. */
static int confirm_action(const struct dead_work *work, const char *command)
{
    if (work->yes || !work->action->asks || work->wanted == 0)
        return COMMAND_OK;
    if (!isatty(STDIN_FILENO))
        return options_wrong(command, "%" PRIu64 " dead letter%s %s, for good: say so with --yes", work->wanted,
                             text_plural(work->wanted), work->action->would);
    queue_rest(work->session.queue);
    fprintf(stderr, "%" PRIu64 " dead letter%s %s, for good. Do it? [y/N] ", work->wanted, text_plural(work->wanted),
            work->action->would);
    return options_confirmed(command) ? COMMAND_OK : COMMAND_FAILED;
}

static void print_summary(const struct dead_work *work)
{
    char line[OWN_COMMAND];
    size_t missing = work->filter.id_count - work->filter.ids_found;
    uint64_t letters = work->dry_run ? work->wanted : work->done;
    printf("%" PRIu64 " dead letter%s %s", letters, text_plural(letters),
           work->dry_run ? work->action->would : work->action->did);
    if (work->on_their_way > 0)
        printf("; %" PRIu64 " %s way already", work->on_their_way,
               work->on_their_way == 1 ? "is on its" : "are on their");
    if (work->taken > 0)
        printf("; %" PRIu64 " %s replayed or dropped by another command meanwhile", work->taken,
               work->taken == 1 ? "was" : "were");
    if (work->filter.ids_found < work->filter.id_count)
        printf("; of the %zu that %s named %zu cannot be found, or %s not fit", work->filter.id_count,
               work->filter.id_count == 1 ? "was" : "were", missing, missing == 1 ? "does" : "do");
    if (work->sourceless > 0)
        printf("; %" PRIu64 " %s left alone, for %s source is not in the configuration: configure source %s again, "
               "or: %s",
               work->sourceless, work->sourceless == 1 ? "is" : "are", work->sourceless == 1 ? "its" : "their",
               work->sourceless_name, own_command(line, NULL, NULL, "queue move %s NEW", work->sourceless_name));
    putchar('\n');
}

/* New dead letters are not meant: the second walk ends at the last letter that was counted. */
static int act_on_letters(struct dead_work *work, const char *command)
{
    struct error why = {0};
    if (!dead_filter_walk(work->session.queue, &work->filter, count_page, work, &why))
        return session_failed(command, &why);
    queue_rest(work->session.queue);
    bool complete = work->filter.ids_found == work->filter.id_count || work->filter.id_count == 0;
    size_t ids_found = work->filter.ids_found;
    if (!work->dry_run && work->wanted > 0) {
        int code = confirm_action(work, command);
        if (code != COMMAND_OK)
            return code;
        work->filter.last = work->last;
        work->shows_progress = isatty(STDERR_FILENO);
        bool good = dead_filter_walk(work->session.queue, &work->filter, act_on_page, work, &why);
        work->filter.ids_found = ids_found;
        queue_rest(work->session.queue);
        if (work->shows_progress)
            fputc('\n', stderr);
        if (!good) {
            print_summary(work);
            return session_failed(command, &why);
        }
        work->taken = work->wanted - work->done;
    }
    print_summary(work);
    return complete && work->sourceless == 0 ? COMMAND_OK : COMMAND_FAILED;
}

static int run_action(struct dead_work *work, int argc, char **argv)
{
    const struct option_spec specs[] = {
        {"--all", NULL, &work->all}, {"--dry-run", NULL, &work->dry_run}, {"--yes", NULL, &work->yes}};
    size_t count = work->action->asks ? 3 : 2;
    if (!dead_filter_read(&work->filter, argc, argv, specs, count))
        return COMMAND_USAGE;
    if (!work->all && !dead_filter_is_any(&work->filter))
        return options_wrong(argv[0], "which ones? Give their numbers or a filter, or --all");
    if (!session_open(&work->session, argv[0]))
        return work->session.code;
    int code = session_missed(&work->session, argv[0], work->filter.source, act_on_letters(work, argv[0]));
    session_close(&work->session);
    return code;
}

int command_dead_replay(int argc, char **argv)
{
    struct dead_work work = {.action = &replay_action};
    int code = run_action(&work, argc, argv);
    dead_filter_free(&work.filter);
    return code;
}

int command_dead_drop(int argc, char **argv)
{
    struct dead_work work = {.action = &drop_action};
    int code = run_action(&work, argc, argv);
    dead_filter_free(&work.filter);
    return code;
}
