/* What a repair could not read: see damages.h. */
#include "queue/sqlite/damages.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/times.h"
#include "queue/loss.h"

/* "2026-11-24T20:45:06.123Z", or else what it is that is not known. Returns out. */
static const char *moment_of(int64_t ms, const char *otherwise, char out[static DATE_PRINTED])
{
    if (ms > 0)
        return date_print_ms(ms, DATE_Z_MILLISECONDS, out);
    snprintf(out, DATE_PRINTED, "%s", otherwise);
    return out;
}

/* "12 events (ids 5 to 16), received between ... and ..., could not be read" */
static void describe(const struct gone *gone, const char *what, char *out, size_t size)
{
    char from[DATE_PRINTED], until[DATE_PRINTED];
    snprintf(out, size, "up to %zu %s (ids %lld to %lld%s), received between %s and %s, could not be read",
             gone->numbers, what, (long long)gone->first, (long long)gone->last,
             gone->ranges > 1 ? ", with readable ones between" : "", moment_of(gone->from_ms, "the beginning", from),
             moment_of(gone->until_ms, "the repair", until));
}

/* What the database says of a source's loss. Returns whether there is any. */
static bool judge(const struct salvaged *salvaged, const struct salvaged_source *source, struct loss *loss)
{
    char events[200] = "", rest[120] = "";
    bool events_gone = source->gone.numbers > 0 || salvaged->letters.numbers > 0;
    bool suspected = !events_gone && (source->gone.not_accounted > 0 || salvaged->whole_tables_lost);
    loss->identities_kept = source->identities == 0 && salvaged->journal == 0 && !salvaged->names_lost;
    loss->from_ms = loss->until_ms; /* nothing is gone, unless: */
    if (suspected || salvaged->names_lost)
        loss->from_ms = 0;
    if (source->gone.numbers > 0) {
        loss->from_ms = source->gone.from_ms;
        describe(&source->gone, "events", events, sizeof events);
    } else if (salvaged->letters.numbers > 0) {
        describe(&salvaged->letters, "dead letters of all sources", events, sizeof events);
    } else if (source->gone.not_accounted > 0) {
        snprintf(events, sizeof events, "%llu events are missing without a trace",
                 (unsigned long long)source->gone.not_accounted);
    } else if (suspected) {
        snprintf(events, sizeof events, "what could not be read may have been events");
    }
    if (salvaged->letters.numbers > 0 && salvaged->letters.from_ms < loss->from_ms)
        loss->from_ms = salvaged->letters.from_ms;
    bool identities_gone = source->identities > 0 || salvaged->journal > 0;
    if (!loss->identities_kept && !identities_gone)
        snprintf(rest, sizeof rest, "%snames of sources were damaged: what was delivered may stand under another one",
                 events[0] != '\0' ? "; " : "");
    if (identities_gone)
        snprintf(rest, sizeof rest, "%sof what was delivered, %.3g %% and %zu single identities could not be read",
                 events[0] != '\0' ? "; " : "", 100 * source->identities, salvaged->journal);
    snprintf(loss->words, sizeof loss->words, "the database was damaged and is repaired: %s%s", events, rest);
    return events_gone || suspected || !loss->identities_kept;
}

static bool note(const char *directory, const char *source, const struct loss *loss, struct error *why)
{
    char from[DATE_PRINTED], until[DATE_PRINTED], quoted[LOG_QUOTED];
    log_write(LEVEL_ERROR,
              "msg=events_lost source=%s received_from=\"%s\" received_until=\"%s\" identities=%s reason=%s", source,
              moment_of(loss->from_ms, "the beginning", from), moment_of(loss->until_ms, "now", until),
              loss->identities_kept ? "kept" : "lost", log_quote(quoted, loss->words, strlen(loss->words)));
    return loss_note(directory, source, loss, why);
}

static const struct salvaged_source *find(const struct salvaged *salvaged, const char *name)
{
    for (size_t i = 0; i < salvaged->count; i++) {
        if (strcmp(salvaged->source[i].name, name) == 0)
            return &salvaged->source[i];
    }
    return NULL;
}

/* Sources of which nothing was found though something may have been there. */
static bool note_nameless(const char *directory, const struct config *config, const struct salvaged *salvaged,
                          struct error *why)
{
    bool good = true;
    for (size_t i = 0; salvaged->names_lost && i < config->sources && good; i++) {
        const char *name = config->source[i].name;
        struct loss loss = {.until_ms = clock_unix_ms()};
        if (salvaged->count == 1)
            snprintf(loss.words, sizeof loss.words,
                     "the database was damaged and is repaired: the names of the sources could not be read; what "
                     "waited is kept under source %.60s (closecrm.fcgi queue move %.60s %.60s)",
                     salvaged->source[0].name, salvaged->source[0].name, name);
        else if (salvaged->count > 1)
            snprintf(
                loss.words, sizeof loss.words,
                "the database was damaged and is repaired: names of sources could not be read; what waited is kept "
                "under made-up ones that `closecrm.fcgi queue status` shows: find out which is %.60s by "
                "`closecrm.fcgi queue list --source NAME`, and give it back by `closecrm.fcgi queue move NAME %.60s`",
                name, name);
        else
            snprintf(loss.words, sizeof loss.words,
                     "the database was damaged: nothing of it could be read, of source %.60s as of others; the damaged "
                     "files are kept in damaged-TIME",
                     name);
        good = find(salvaged, name) != NULL || note(directory, name, &loss, why);
    }
    return good;
}

bool damages_note(const char *directory, const struct config *config, const struct salvaged *salvaged,
                  struct error *why)
{
    size_t events = 0, unreadable = salvaged->letters.numbers + salvaged->journal;
    bool any = salvaged->names_lost, good = true;
    for (size_t i = 0; i < salvaged->count && good; i++) {
        const struct salvaged_source *source = &salvaged->source[i];
        struct loss loss = {.until_ms = clock_unix_ms()};
        bool lost = judge(salvaged, source, &loss);
        if (lost)
            good = note(directory, source->name, &loss, why);
        any = any || lost;
        events += source->events;
        unreadable += source->gone.numbers;
    }
    good = good && note_nameless(directory, config, salvaged, why);
    log_write(LEVEL_ERROR, "msg=queue_repaired rows=%zu waiting=%zu unreadable=%zu advice=\"%s\"", salvaged->rows,
              events, unreadable, any ? "some could not be read: the damaged files are kept" : "nothing was lost");
    return good;
}

bool damages_note_missing(const char *directory, const struct config *config, struct error *why)
{
    bool good = true;
    for (size_t i = 0; i < config->sources && good; i++) {
        struct loss loss = {.until_ms = clock_unix_ms(),
                            .words = "the queue's database was gone, and a new one is made"};
        good = note(directory, config->source[i].name, &loss, why);
    }
    return good;
}
