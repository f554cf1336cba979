/* The state of reconciling: its file, what a loss of events does to it, what others may know of it. */
#include "closeapi/closeapi.h"

#include "base/clock.h"
#include "base/files.h"
#include "base/text.h"
#include "base/times.h"
#include "kept/kept.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "reconcile"
#define TYPES_MOST 32768 /* bytes */

/* Close retries a delivery for 72 hours: an event may be dated that much earlier than it was received. */
#define LATE_MS (INT64_C(73) * 3600 * 1000)

struct field {
    const char *name;
    size_t offset;
    int64_t unit; /* so many of the number in the file make one of the member */
};

/* All members are 64 bits wide. */
#define FIELD(member)                                                                                                  \
    {                                                                                                                  \
#member, offsetof(struct completeness, member), 1                                                              \
    }
#define TIME(name)                                                                                                     \
    {                                                                                                                  \
#name "_us", offsetof(struct completeness, name##_ms), 1000                                                    \
    }

static const struct field fields[] = {
    TIME(since),          TIME(until),        TIME(verified), FIELD(missed),      FIELD(missed_large),
    FIELD(missed_paused), FIELD(missed_late), FIELD(hidden),  FIELD(last_run_ms), FIELD(last_good_ms),
    FIELD(loss_ms),       TIME(floor),        TIME(again),    TIME(ahead),
};

#define FIELDS (sizeof fields / sizeof *fields)

static int64_t *state_field(struct completeness *state, size_t i)
{
    return (int64_t *)(void *)((char *)state + fields[i].offset);
}

bool completeness_read(const char *directory, struct completeness *state, struct error *why)
{
    bool missing;
    char types[TYPES_MOST];
    *state = (struct completeness){.types = NULL};
    char *text = files_read(directory, FILE_NAME, &missing, why);
    if (text == NULL)
        return missing;
    for (size_t i = 0; i < FIELDS; i++)
        *state_field(state, i) = files_number(text, fields[i].name, 0) / fields[i].unit;
    state->paused = files_number(text, "paused", 0) != 0;
    files_value(text, "trouble", state->trouble, sizeof state->trouble);
    files_value(text, "lacks", state->lacks, sizeof state->lacks);
    bool good = !files_value(text, "types", types, sizeof types) || (state->types = strdup(types)) != NULL;
    if (!good)
        error_set(why, "out of memory");
    files_free(text);
    return good;
}

bool completeness_write(struct kept *kept, const char *directory, const struct completeness *state, struct error *why)
{
    struct buffer text = {0};
    struct completeness copy = *state;
    char line[700];
    for (size_t i = 0; i < FIELDS; i++) {
        snprintf(line, sizeof line, "%s = %" PRId64 "\n", fields[i].name, *state_field(&copy, i) * fields[i].unit);
        buffer_text(&text, line);
    }
    snprintf(line, sizeof line, "paused = %d\ntrouble = ", state->paused);
    buffer_text(&text, line);
    for (const char *c = state->trouble; *c != '\0'; c++)
        buffer_append(&text, *c == '\n' ? " " : c, 1);
    buffer_text(&text, "\nlacks = ");
    buffer_text(&text, state->lacks);
    buffer_text(&text, "\n");
    if (state->types != NULL) {
        buffer_text(&text, "types = ");
        buffer_text(&text, state->types);
        buffer_text(&text, "\n");
    }
    buffer_append(&text, "", 1);
    bool good = !text.failed;
    if (!good)
        error_set(why, "out of memory");
    good = good && kept_put(kept, directory, FILE_NAME, text.data, why);
    buffer_free(&text);
    return good;
}

void completeness_free(struct completeness *completeness)
{
    free(completeness->types);
    completeness->types = NULL;
}

/* ---- how far the claim is set back by a loss of events ---- */

static int64_t min_ms(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max_ms(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Only identities are lost, and no event. */
static bool is_no_event_gone(const struct loss *loss)
{
    return loss->from_ms >= loss->until_ms;
}

bool setback_is_fetched(const struct loss *loss)
{
    return loss->identities_kept || loss->mark_ms > 0 || is_no_event_gone(loss);
}

/* Drops the claim for all that is before. */
static void setback_begin_claim(struct completeness *state, int64_t ms)
{
    state->since_ms = state->until_ms = state->verified_ms = ms;
}

bool setback_apply(struct completeness *state, const struct loss *loss, const struct setback_clock *clock)
{
    if (state->loss_ms == loss->until_ms)
        return false;
    state->loss_ms = loss->until_ms;
    int64_t gone_ms = loss->from_ms == 0 ? 0 : loss->from_ms + clock->ahead_ms - LATE_MS;
    if (is_no_event_gone(loss))
        gone_ms = INT64_MAX;
    int64_t floor_ms = clock->now_ms - clock->remembered_ms;
    if (!loss->identities_kept) {
        floor_ms = loss->mark_ms > 0 ? loss->mark_ms : loss->until_ms + clock->ahead_ms;
        state->floor_ms = max_ms(state->floor_ms, floor_ms);
    }
    bool claimed = state->until_ms > 0;
    state->until_ms = min_ms(state->until_ms, max_ms(gone_ms, state->since_ms));
    state->verified_ms = min_ms(state->verified_ms, state->until_ms);
    if (!setback_is_fetched(loss)) {
        state->ahead_ms = max_ms(state->ahead_ms, floor_ms);
        return true;
    }
    /* the gap up to the floor cannot be read again; and without a claim the next run would begin a day before now */
    bool anew = claimed ? state->until_ms < floor_ms : !loss->identities_kept;
    if (anew)
        setback_begin_claim(state, floor_ms);
    else if (gone_ms > 0 && gone_ms < state->since_ms) /* lost before the claim began: read again all the same */
        state->again_ms = max_ms(gone_ms, floor_ms);
    return true;
}

void setback_from(struct completeness *state, int64_t from_ms)
{
    if (from_ms > state->until_ms || state->until_ms == 0) {
        setback_begin_claim(state, from_ms);
    } else {
        state->since_ms = min_ms(state->since_ms, from_ms);
        state->until_ms = from_ms;
        state->verified_ms = min_ms(state->verified_ms, from_ms);
    }
    state->again_ms = state->ahead_ms = 0;
}

void setback_advise(const struct loss *loss, const char *source, char *out, size_t size)
{
    char from[DATE_PRINTED] = "30d", until[DATE_PRINTED];
    struct error words; /* its commands have the program's name */
    if (loss->from_ms > 0)
        times_print_ms(loss->from_ms, DATE_Z, from);
    times_print_ms(loss->until_ms, DATE_Z, until);
    error_set(&words,
              "events from %s until %s may be gone: `closecrm.fcgi reconcile --source %s --from %s` fetches them, and "
              "may count twice what was delivered; --from 0s leaves it so",
              from, until, source, from);
    snprintf(out, size, "%s", words.text);
}

/* ---- what others may know ---- */

/* Does not make the source's directory. */
static bool state_read_of_source(const struct config *config, const struct source *source, struct completeness *state,
                                 struct error *why)
{
    char directory[FILES_PATH];
    *state = (struct completeness){.types = NULL};
    if (config->state_dir == NULL)
        return true;
    snprintf(directory, sizeof directory, "%.3800s/closeapi/%s", config->state_dir, source->name);
    return completeness_read(directory, state, why);
}

/* Applies a loss of events that no run has applied yet. Returns false with the reason. */
static bool state_apply_loss(const struct config *config, const struct source *source, struct completeness *state,
                             struct error *why)
{
    struct loss loss;
    bool any;
    if (config->state_dir == NULL)
        return true;
    if (!loss_read(config->state_dir, source->name, &loss, &any, why))
        return false;
    if (!any)
        return true;
    const struct setback_clock clock = {.now_ms = clock_unix_ms(), .remembered_ms = config->dedupe_window_ms};
    setback_apply(state, &loss, &clock);
    state->lost = source->close_api_key == NULL || !setback_is_fetched(&loss);
    struct error words = {.text = ""};
    if (source->close_api_key == NULL)
        error_set(&words,
                  "events may be gone (%.180s): with a close_api_key `closecrm.fcgi reconcile --source %.60s` fetches "
                  "what Close still has; `closecrm.fcgi reconcile --source %.60s --from 0s` leaves it so",
                  loss.words, source->name, source->name);
    else if (state->lost)
        setback_advise(&loss, source->name, state->trouble, sizeof state->trouble);
    else if (source->reconcile_interval_ms == 0)
        error_set(&words, "events may be gone: `closecrm.fcgi reconcile --source %s` fetches what Close still has",
                  source->name);
    if (words.text[0] != '\0')
        snprintf(state->trouble, sizeof state->trouble, "%.511s", words.text);
    return true;
}

bool closeapi_completeness(const struct config *config, const struct source *source, struct completeness *out,
                           struct error *why)
{
    if (!state_read_of_source(config, source, out, why))
        return false;
    if (out->types == NULL && (out->types = strdup("")) == NULL) {
        error_set(why, "out of memory");
        return false;
    }
    if (state_apply_loss(config, source, out, why))
        return true;
    completeness_free(out);
    return false;
}

const char *completeness_words(const struct completeness *completeness, char out[static COMPLETENESS_WORDS])
{
    char since[DATE_PRINTED], until[DATE_PRINTED], verified[DATE_PRINTED];
    size_t types = completeness->types != NULL && completeness->types[0] != '\0';
    for (const char *c = completeness->types; c != NULL && *c != '\0'; c++)
        types += *c == ' ';
    if (completeness->until_ms == 0 || completeness->until_ms <= completeness->since_ms) {
        snprintf(out, COMPLETENESS_WORDS, "nothing is known to be complete yet");
        return out;
    }
    int at = snprintf(out, COMPLETENESS_WORDS, "complete from %s until %s",
                      times_print_ms(completeness->since_ms, DATE_Z, since),
                      times_print_ms(completeness->until_ms, DATE_Z, until));
    if (completeness->verified_ms > completeness->since_ms)
        at += snprintf(out + at, COMPLETENESS_WORDS - (size_t)at, " (read a second time until %s)",
                       times_print_ms(completeness->verified_ms, DATE_Z, verified));
    if (types > 0)
        snprintf(out + at, COMPLETENESS_WORDS - (size_t)at, ", for %zu kind%s of events", types, text_plural(types));
    else
        snprintf(out + at, COMPLETENESS_WORDS - (size_t)at, ", for all events");
    return out;
}

/* Events that are read again in the next run must still be remembered: else they would be sent twice. */
#define REMEMBERED_MS (INT64_C(2) * 3600 * 1000)

bool closeapi_can_reconcile(const struct config *config, const struct source *source, struct error *why)
{
    const char *fault = NULL;
    if (source->close_api_key == NULL)
        fault = "it has no close_api_key: make one in Close (Settings, Developer, API Keys), as an administrator";
    else if (config->queue == QUEUE_NONE)
        fault = "queue = none remembers nothing: set queue = sqlite";
    else if (config->state_dir == NULL)
        fault = "there is no state_dir, where progress is kept";
    else if (strncmp(source->data_plane_url, "file:", 5) == 0)
        fault = "what goes into a file is not remembered, and would be written again and again; `backfill` works";
    else if (config->dedupe_window_ms < REMEMBERED_MS)
        fault = "dedupe_window is too short: what was delivered would be sent again; 31d is its default";
    if (fault != NULL)
        error_set(why, "source %s cannot be reconciled: %s", source->name, fault);
    return fault == NULL;
}

/* What was delivered under a source's old name is not known under its new one: a first run under that would send it
 * again. */
bool closeapi_left_over(const struct config *config, char name[static 256])
{
    char path[FILES_PATH], file[FILES_PATH + 300];
    bool found = false;
    if (config->state_dir == NULL)
        return false;
    snprintf(path, sizeof path, "%.3800s/closeapi", config->state_dir);
    DIR *directory = opendir(path);
    for (const struct dirent *entry; directory != NULL && !found && (entry = readdir(directory)) != NULL;) {
        snprintf(file, sizeof file, "%s/%.255s/" FILE_NAME, path, entry->d_name);
        found = entry->d_name[0] != '.' && config_source(config, entry->d_name) == NULL && access(file, F_OK) == 0;
        if (found)
            snprintf(name, 256, "%s", entry->d_name);
    }
    if (directory != NULL)
        closedir(directory);
    return found;
}

int64_t closeapi_due(const struct config *config, const struct source *source)
{
    struct completeness state;
    struct error why;
    if (source->reconcile_interval_ms == 0 || !closeapi_can_reconcile(config, source, NULL))
        return INT64_MAX;
    if (!state_read_of_source(config, source, &state, &why))
        return clock_unix_ms(); /* the run will report why the state cannot be read */
    int64_t last = state.last_run_ms;
    char name[256];
    bool is_first = state.until_ms == 0;
    completeness_free(&state);
    if (is_first && closeapi_left_over(config, name))
        return clock_unix_ms() + source->reconcile_interval_ms;
    /* a last run in the future, by a clock that was ahead, must not delay this one */
    return last > clock_unix_ms() ? clock_unix_ms() : last + source->reconcile_interval_ms;
}
