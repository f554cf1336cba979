/* A run of reconciling: which part of the Event Log is read, and until when it is complete then. */
#include "base/clock.h"
#include "base/log.h"
#include "base/times.h"
#include "closeapi/reconcile_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MINUTE_MS INT64_C(60000)
#define DAY_MS (24 * 60 * MINUTE_MS)
#define OVERLAP_MS (10 * MINUTE_MS)  /* is read again in each run */
#define UNSETTLED_MS (5 * MINUTE_MS) /* younger events are not read: Close still changes them */
#define SECOND_MS DAY_MS             /* older events are read a second time */
#define BEYOND_MS (EVENT_LOG_DAYS * DAY_MS)
#define CLOCK_MS 5000

/* The creation of the oldest subscription whose key is held here; 0: unknown. */
static int64_t oldest_subscription_ms(const struct reconcile_run *run)
{
    int64_t first = 0;
    for (size_t i = 0; i < run->held.count; i++) {
        int64_t created = run->held.at[i].created_ms;
        if (strcmp(run->held.at[i].source, run->source->name) == 0 && created > 0 && (first == 0 || created < first))
            first = created;
    }
    return first;
}

/* Returns from when the log is to be read. Also sets the claim, if there is none yet, or Close does not keep events of
 * its end any more. */
static int64_t reconcile_choose_start(struct reconcile_run *run)
{
    int64_t oldest = run->now_ms - BEYOND_MS;
    if (run->on_hold) {
        int64_t start = run->state.ahead_ms - OVERLAP_MS;
        return start > run->state.floor_ms ? start : run->state.floor_ms;
    }
    if (run->state.until_ms == 0) {
        int64_t created = oldest_subscription_ms(run);
        int64_t start = created > 0 ? created : run->now_ms - DAY_MS;
        run->state.since_ms = run->state.until_ms = run->state.verified_ms = start > oldest ? start : oldest;
        return run->state.until_ms;
    }
    if (run->state.until_ms < oldest) {
        log_write(LEVEL_ERROR,
                  "msg=gap source=%s advice=\"nothing was reconciled for more than 30 days, and Close keeps no longer: "
                  "what was missed before is lost\"",
                  run->source->name);
        run->state.since_ms = run->state.until_ms = run->state.verified_ms = oldest;
    }
    int64_t start = run->state.until_ms - OVERLAP_MS;
    start = start > run->state.since_ms ? start : run->state.since_ms;
    if (run->options->from_us > 0)
        return run->state.until_ms; /* the operator's time, to which setback_from has set it */
    if (run->state.again_ms > 0 && run->state.again_ms < start)
        start = run->state.again_ms > oldest ? run->state.again_ms : oldest;
    return start > run->state.floor_ms ? start : run->state.floor_ms;
}

/* Counts the window's events that did not come by webhook, and why. */
static void reconcile_count_missed(struct reconcile_run *run, const struct import_counts *counts)
{
    uint64_t hidden = counts->hidden - run->before.hidden;
    uint64_t fresh = counts->fresh - run->before.fresh;
    uint64_t missed = fresh > hidden ? fresh - hidden : 0;
    uint64_t large = counts->large - run->before.large;
    large = large < missed ? large : missed;
    run->state.missed += missed;
    run->state.missed_large += large;
    if (run->was_paused && !run->second)
        run->state.missed_paused += missed - large;
    if (run->second)
        run->state.missed_late += missed;
    run->state.hidden += hidden;
    if (missed > 0)
        log_write(LEVEL_WARN, "msg=missed_by_the_webhook source=%s events=%llu large=%llu why=%s", run->source->name,
                  (unsigned long long)missed, (unsigned long long)large,
                  run->second       ? "late"
                  : run->was_paused ? "paused"
                  : large == missed ? "too_large"
                                    : "not_delivered");
}

/* Extends the claim to the end of a window, and writes the state. Returns false with the reason. */
static bool reconcile_note_window(struct reconcile_run *run, const struct import_counts *counts, int64_t until_ms)
{
    if (run->any_loss && !run->second) /* these events may have come by webhook, and are lost since */
        log_write(LEVEL_INFO, "msg=fetched_after_loss source=%s events=%llu", run->source->name,
                  (unsigned long long)(counts->fresh - run->before.fresh));
    else
        reconcile_count_missed(run, counts);
    bool hole = counts->hidden > run->before.hidden;
    run->before = *counts;
    if (run->second)
        run->state.verified_ms = until_ms;
    else if (run->on_hold)
        run->state.ahead_ms = until_ms;
    else if (until_ms > run->state.until_ms)
        run->state.until_ms = until_ms;
    if (hole && !run->on_hold && until_ms > run->state.since_ms)
        run->state.since_ms = until_ms; /* without the hidden events the time before is not complete */
    return completeness_write(run->lock, run->directory, &run->state, run->why);
}

/* Adds the types that were seen and that no subscription has to those of the runs before. */
static void reconcile_note_lacks(struct reconcile_run *run, const char *seen)
{
    char names[sizeof run->state.lacks], *rest = NULL;
    snprintf(names, sizeof names, "%s", seen);
    for (const char *name = strtok_r(names, " ", &rest); name != NULL; name = strtok_r(NULL, " ", &rest))
        coverage_list_add(run->state.lacks, sizeof run->state.lacks, name);
}

static enum import_result reconcile_import(struct reconcile_run *run, int64_t from_ms, int64_t to_ms,
                                           struct import_counts *counts)
{
    const struct import_order order = {
        .config = run->config,
        .source = run->source,
        .client = run->client,
        .queue = run->queue,
        .coverage = &run->coverage,
        .all_events = run->options->all_events,
        .notes_lacks = true,
        .stop_fd = run->options->stop_fd,
        .from_us = from_ms * 1000,
        .to_us = to_ms * 1000,
    };
    enum import_result result;
    struct import *import = import_new(&order, run->directory, run->why);
    if (import == NULL)
        return IMPORT_FAILED;
    run->before = (struct import_counts){0};
    do {
        result = import_next(import, run->why);
        if (result == IMPORT_WINDOW)
            reconcile_note_lacks(run, import_lacks(import));
        if (result == IMPORT_WINDOW &&
            !reconcile_note_window(run, import_counted(import), import_reached(import) / 1000))
            result = IMPORT_FAILED;
    } while (result == IMPORT_STEP || result == IMPORT_WINDOW);
    *counts = *import_counted(import);
    import_free(import);
    return result;
}

/* Reads again what was read a day ago: some events appear in the log late. */
static enum import_result reconcile_import_again(struct reconcile_run *run)
{
    int64_t to = run->now_ms - SECOND_MS;
    to = to < run->state.until_ms ? to : run->state.until_ms;
    /* identities of what was delivered a day ago must still be remembered */
    if (to <= run->state.verified_ms || run->config->dedupe_window_ms < 2 * SECOND_MS)
        return IMPORT_DONE;
    int64_t from = run->state.verified_ms - OVERLAP_MS;
    from = from > run->state.since_ms ? from : run->state.since_ms;
    from = from > run->state.floor_ms ? from : run->state.floor_ms;
    run->second = true;
    enum import_result result = reconcile_import(run, from, to, &run->report->second);
    run->second = false;
    return result;
}

enum import_result reconcile_read_log(struct reconcile_run *run)
{
    int64_t from = reconcile_choose_start(run), to = run->now_ms - UNSETTLED_MS;
    run->report->from_us = from * 1000;
    run->report->to_us = (to > from ? to : from) * 1000;
    enum import_result result = reconcile_import(run, from, to, &run->report->counts);
    return result == IMPORT_DONE ? reconcile_import_again(run) : result;
}

/* ---- the event types that the claim is about ---- */

/* Whether a word is in a list whose words are separated by blanks. */
static bool list_has_word(const char *text, const char *word, size_t length)
{
    for (const char *at = text; (at = strchr(at, word[0])) != NULL; at++) {
        if (strncmp(at, word, length) == 0 && (at == text || at[-1] == ' ') &&
            (at[length] == ' ' || at[length] == '\0'))
            return true;
    }
    return false;
}

/* Whether all of these event types are among those; "" stands for all that there are. */
static bool is_list_within(const char *these, const char *those)
{
    if (those[0] == '\0' || these[0] == '\0')
        return those[0] == '\0';
    for (size_t length; *these != '\0'; these += length, these += *these == ' ') {
        length = strcspn(these, " ");
        if (!list_has_word(those, these, length))
            return false;
    }
    return true;
}

bool reconcile_set_types(struct reconcile_run *run)
{
    struct buffer types = {0};
    if (!run->options->all_events)
        coverage_describe(&run->coverage, &types);
    buffer_append(&types, "", 1);
    if (types.failed) {
        buffer_free(&types);
        error_set(run->why, "out of memory");
        return false;
    }
    /* events of a new type are complete only from now on; a type that is gone leaves the claim true */
    if (run->state.types != NULL && run->state.until_ms > 0 && !is_list_within(types.data, run->state.types)) {
        log_write(LEVEL_INFO, "msg=more_is_covered source=%s", run->source->name);
        run->state.since_ms = run->state.until_ms;
    }
    free(run->state.types);
    run->state.types = types.data;
    coverage_list_reduce(&run->coverage, run->state.lacks);
    return true;
}

/* ---- a loss of events: the claim is set back first, durably; then what is gone is read again, if nothing is counted
 * twice by that;
 * when all of it is there the loss is forgotten ---- */

static void reconcile_log_setback(const struct reconcile_run *run)
{
    char until[DATE_PRINTED], quoted[LOG_QUOTED], advice[sizeof run->why->text] = "what Close still has is fetched now";
    if (run->on_hold)
        setback_advise(&run->loss, run->source->name, advice, sizeof advice);
    log_write(LEVEL_ERROR, "msg=%s source=%s complete_until=%s reason=%s advice=\"%s\"",
              run->on_hold ? "lost_events_not_fetched" : "claim_set_back", run->source->name,
              times_print(run->state.until_ms * 1000, DATE_MILLISECONDS, until),
              log_quote_reason(quoted, run->loss.words), advice);
}

/* How much Close's clock is ahead. Its time comes in whole seconds: less than some of them is no difference. */
static int64_t clock_difference_ms(int64_t now_ms)
{
    int64_t ahead = now_ms - clock_unix_ms();
    return ahead > -CLOCK_MS && ahead < CLOCK_MS ? 0 : ahead;
}

/* The operator has named a time from which all is to be read. */
static void reconcile_take_from(struct reconcile_run *run)
{
    int64_t from = run->options->from_us / 1000;
    if (from < run->now_ms - BEYOND_MS)
        from = run->now_ms - BEYOND_MS;
    setback_from(&run->state, from);
    run->on_hold = false;
}

bool reconcile_take_loss(struct reconcile_run *run)
{
    const struct setback_clock clock = {.now_ms = run->now_ms,
                                        .ahead_ms = clock_difference_ms(run->now_ms),
                                        .remembered_ms = run->config->dedupe_window_ms};
    if (!loss_read(run->config->state_dir, run->source->name, &run->loss, &run->any_loss, run->why))
        return false;
    bool changed = run->any_loss && setback_apply(&run->state, &run->loss, &clock);
    run->on_hold = run->any_loss && !setback_is_fetched(&run->loss);
    if (run->options->from_us > 0)
        reconcile_take_from(run);
    if (!changed && run->options->from_us == 0)
        return true;
    if (changed && run->options->from_us == 0)
        reconcile_log_setback(run);
    return completeness_write(run->lock, run->directory, &run->state, run->why);
}

/* Whether the loss that is noted now is still the one that this run has applied. */
static bool reconcile_is_same_loss(const struct reconcile_run *run, bool *same, struct error *why)
{
    struct loss now;
    bool any;
    if (!loss_read(run->config->state_dir, run->source->name, &now, &any, why))
        return false;
    *same = any && now.until_ms == run->loss.until_ms;
    return true;
}

bool reconcile_end_loss(struct reconcile_run *run)
{
    bool same;
    if (run->on_hold) {
        if (run->state.trouble[0] == '\0')
            setback_advise(&run->loss, run->source->name, run->state.trouble, sizeof run->state.trouble);
        return true;
    }
    run->state.again_ms = run->state.ahead_ms = 0;
    if (!run->any_loss)
        return true;
    return reconcile_is_same_loss(run, &same, run->why) &&
           (!same || (completeness_write(run->lock, run->directory, &run->state, run->why) &&
                      loss_clear(run->config->state_dir, run->source->name, run->why)));
}
