/* Filters over dead letters: see dead_filter.h. */
#include "commands/dead_filter.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/times.h"
#include "commands/commands.h"
#include "commands/options.h"
#include "commands/session.h"

#define PAGE_BYTES ((size_t)8 << 20)
#define OPTIONS_MOST 16

/* ---- reading the command line ---- */

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

bool dead_filter_read(struct dead_filter *filter, int argc, char **argv, const struct option_spec *more,
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

bool dead_filter_is_any(const struct dead_filter *filter)
{
    return filter->source != NULL || filter->reason != NULL || filter->event != NULL || filter->lead != NULL ||
           filter->since != NULL || filter->until != NULL || filter->id_count > 0;
}

void dead_filter_free(struct dead_filter *filter)
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
