/* Reading and writing what reconciling remembers, and telling it to others. */
#include "closeapi/state.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/times.h"
#include "closeapi/setback.h"

#define FILE_NAME "reconcile"
#define TYPES_MOST 32768 /* bytes */

struct field {
    const char *name;
    size_t offset;
};

#define FIELD(member)                                                                                                  \
    {                                                                                                                  \
#member, offsetof(struct reconcile_state, member)                                                              \
    }

/* All are 64 bits wide. */
static const struct field fields[] = {
    FIELD(since_us),      FIELD(until_us),    FIELD(verified_us), FIELD(missed),      FIELD(missed_large),
    FIELD(missed_paused), FIELD(missed_late), FIELD(hidden),      FIELD(last_run_ms), FIELD(last_good_ms),
    FIELD(loss_ms),       FIELD(floor_us),    FIELD(again_us),    FIELD(ahead_us),
};

#define FIELDS (sizeof fields / sizeof *fields)

static int64_t *field_of(struct reconcile_state *state, size_t i)
{
    return (int64_t *)(void *)((char *)state + fields[i].offset);
}

bool reconcile_state_read(const char *directory, struct reconcile_state *state, struct error *why)
{
    bool missing;
    char types[TYPES_MOST];
    *state = (struct reconcile_state){.types = NULL};
    char *text = small_file_read(directory, FILE_NAME, &missing, why);
    if (text == NULL)
        return missing;
    for (size_t i = 0; i < FIELDS; i++)
        *field_of(state, i) = small_number(text, fields[i].name, 0);
    state->paused = small_number(text, "paused", 0) != 0;
    small_value(text, "trouble", state->trouble, sizeof state->trouble);
    bool good = !small_value(text, "types", types, sizeof types) || (state->types = strdup(types)) != NULL;
    if (!good)
        error_set(why, "out of memory");
    small_file_free(text);
    return good;
}

bool reconcile_state_write(const char *directory, const struct reconcile_state *state, struct error *why)
{
    struct buffer text = {0};
    struct reconcile_state copy = *state;
    char line[700];
    for (size_t i = 0; i < FIELDS; i++) {
        snprintf(line, sizeof line, "%s = %lld\n", fields[i].name, (long long)*field_of(&copy, i));
        buffer_text(&text, line);
    }
    snprintf(line, sizeof line, "paused = %d\ntrouble = ", state->paused);
    buffer_text(&text, line);
    for (const char *c = state->trouble; *c != '\0'; c++)
        buffer_append(&text, *c == '\n' ? " " : c, 1);
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
    good = good && small_file_replace(directory, FILE_NAME, text.data, why);
    buffer_free(&text);
    return good;
}

void reconcile_state_free(struct reconcile_state *state)
{
    free(state->types);
    state->types = NULL;
}

/* Only looks: makes no directory. */
static bool look(const struct config *config, const struct source *source, struct reconcile_state *state,
                 struct error *why)
{
    char directory[SMALL_PATH];
    *state = (struct reconcile_state){.types = NULL};
    if (config->state_dir == NULL)
        return true;
    snprintf(directory, sizeof directory, "%.3800s/closeapi/%s", config->state_dir, source->name);
    return reconcile_state_read(directory, state, why);
}

/* A loss that no run has seen yet has set the claim back all the same. Returns false with the reason. */
static bool look_at_loss(const struct config *config, const struct source *source, struct reconcile_state *state,
                         bool *waits, struct error *why)
{
    struct loss loss;
    bool any;
    *waits = false;
    if (config->state_dir == NULL)
        return true;
    if (!loss_read(config->state_dir, source->name, &loss, &any, why))
        return false;
    if (!any)
        return true;
    const struct setback_clock clock = {.now_us = clock_unix_ms() * 1000,
                                        .remembered_us = config->dedupe_window_ms * 1000};
    setback_apply(state, &loss, &clock);
    *waits = !setback_is_fetched(&loss);
    if (source->close_api_key == NULL) {
        *waits = true;
        snprintf(
            state->trouble, sizeof state->trouble,
            "events may be gone (%.80s): with a close_api_key `closecrm.fcgi reconcile --source %.60s` fetches what "
            "Close still has; to leave it so: rm '%.140s/loss/%.60s'",
            loss.words, source->name, config->state_dir, source->name);
    } else if (*waits)
        setback_advise(&loss, source->name, state->trouble, sizeof state->trouble);
    else if (source->reconcile_interval_ms == 0)
        snprintf(state->trouble, sizeof state->trouble,
                 "events may be gone: `closecrm.fcgi reconcile --source %s` fetches what Close still has",
                 source->name);
    return true;
}

bool closeapi_completeness(const struct config *config, const struct source *source, struct completeness *out,
                           struct error *why)
{
    struct reconcile_state state;
    bool lost;
    *out = (struct completeness){.types = NULL};
    if (!look(config, source, &state, why))
        return false;
    if (!look_at_loss(config, source, &state, &lost, why)) {
        reconcile_state_free(&state);
        return false;
    }
    *out = (struct completeness){
        .since_ms = state.since_us / 1000,
        .until_ms = state.until_us / 1000,
        .verified_ms = state.verified_us / 1000,
        .types = state.types != NULL ? state.types : strdup(""),
        .missed = state.missed,
        .missed_large = state.missed_large,
        .missed_paused = state.missed_paused,
        .missed_late = state.missed_late,
        .hidden = state.hidden,
        .last_run_ms = state.last_run_ms,
        .last_good_ms = state.last_good_ms,
        .paused = state.paused,
        .lost = lost,
    };
    snprintf(out->trouble, sizeof out->trouble, "%s", state.trouble);
    if (out->types != NULL)
        return true;
    error_set(why, "out of memory");
    return false;
}

void completeness_free(struct completeness *completeness)
{
    free(completeness->types);
    completeness->types = NULL;
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
                      date_print_ms(completeness->since_ms, DATE_Z, since),
                      date_print_ms(completeness->until_ms, DATE_Z, until));
    if (completeness->verified_ms > completeness->since_ms)
        at += snprintf(out + at, COMPLETENESS_WORDS - (size_t)at, " (read a second time until %s)",
                       date_print_ms(completeness->verified_ms, DATE_Z, verified));
    if (types > 0)
        snprintf(out + at, COMPLETENESS_WORDS - (size_t)at, ", for %zu kinds of events", types);
    else
        snprintf(out + at, COMPLETENESS_WORDS - (size_t)at, ", for all events");
    return out;
}

/* What is read again must be known again: else it would be sent twice. */
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

/* What was delivered under a name that is not configured any more is not known under another one: a first reading of
 * the log would send it again. */
bool closeapi_left_over(const struct config *config, char name[static 256])
{
    char path[SMALL_PATH], file[SMALL_PATH + 300];
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
    struct reconcile_state state;
    struct error why;
    if (source->reconcile_interval_ms == 0 || !closeapi_can_reconcile(config, source, NULL))
        return INT64_MAX;
    if (!look(config, source, &state, &why))
        return clock_unix_ms(); /* whoever tries will say why it cannot be read */
    int64_t last = state.last_run_ms;
    char name[256];
    bool is_first = state.until_us == 0;
    reconcile_state_free(&state);
    if (is_first && closeapi_left_over(config, name))
        return clock_unix_ms() + source->reconcile_interval_ms;
    /* a clock that was ahead must not keep us waiting */
    return last > clock_unix_ms() ? clock_unix_ms() : last + source->reconcile_interval_ms;
}
