/* Reconciling: what of the Event Log is read, and what is claimed to be complete after it. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/dates.h"
#include "base/log.h"
#include "closeapi/reconcile_private.h"

#define MINUTE_US (INT64_C(60) * 1000000)
#define DAY_US (24 * 60 * MINUTE_US)
#define UNSETTLED_US (5 * MINUTE_US) /* Close still edits what is younger */
#define SECOND_US DAY_US             /* after this time it is read a second time */
#define BEYOND_US (30 * DAY_US)      /* Close has nothing older */
#define CLOCK_US INT64_C(5000000)

/* The creation of the oldest subscription whose key we hold; 0: unknown. */
static int64_t first_creation_us(const struct run *run)
{
    int64_t first = 0;
    for (size_t i = 0; i < run->held.count; i++) {
        int64_t created = run->held.at[i].created_ms * 1000;
        if (strcmp(run->held.at[i].source, run->source->name) == 0 && created > 0 && (first == 0 || created < first))
            first = created;
    }
    return first;
}

/* Where the reading begins; also begins the claim, where there is none yet or Close has forgotten its end. */
static int64_t choose_start(struct run *run)
{
    int64_t oldest = run->now_us - BEYOND_US;
    if (run->on_hold) {
        int64_t start = run->state.ahead_us - RECONCILE_OVERLAP_US;
        return start > run->state.floor_us ? start : run->state.floor_us;
    }
    if (run->state.until_us == 0) {
        int64_t created = first_creation_us(run);
        int64_t start = created > 0 ? created : run->now_us - DAY_US;
        run->state.since_us = run->state.until_us = run->state.verified_us = start > oldest ? start : oldest;
        return run->state.until_us;
    }
    if (run->state.until_us < oldest) {
        log_write(LEVEL_ERROR,
                  "msg=gap source=%s advice=\"nothing was reconciled for more than 30 days, and Close keeps no longer: "
                  "what was missed before is lost\"",
                  run->source->name);
        run->state.since_us = run->state.until_us = run->state.verified_us = oldest;
    }
    int64_t start = run->state.until_us - RECONCILE_OVERLAP_US;
    start = start > run->state.since_us ? start : run->state.since_us;
    if (run->options->from_us > 0)
        return run->state.until_us; /* that very time */
    if (run->state.again_us > 0 && run->state.again_us < start)
        start = run->state.again_us > oldest ? run->state.again_us : oldest;
    return start > run->state.floor_us ? start : run->state.floor_us;
}

/* Counts what the webhook missed in this window, and why. */
static void count_missed(struct run *run, const struct import_counts *counts)
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

/* Moves the claim on to the end of a window, and notes it. Returns false with the reason. */
static bool note_window(struct run *run, const struct import_counts *counts, int64_t until_us)
{
    if (run->any_loss && !run->second) /* it is not the webhook that missed it */
        log_write(LEVEL_INFO, "msg=fetched_after_loss source=%s events=%llu", run->source->name,
                  (unsigned long long)(counts->fresh - run->before.fresh));
    else
        count_missed(run, counts);
    bool hole = counts->hidden > run->before.hidden;
    run->before = *counts;
    if (run->second)
        run->state.verified_us = until_us;
    else if (run->on_hold)
        run->state.ahead_us = until_us;
    else if (until_us > run->state.until_us)
        run->state.until_us = until_us;
    if (hole && !run->on_hold && until_us > run->state.since_us)
        run->state.since_us = until_us; /* what came before is not complete */
    return reconcile_state_write(run->directory, &run->state, run->why);
}

static enum import_result read_log(struct run *run, int64_t from_us, int64_t to_us, struct import_counts *counts)
{
    const struct import_order order = {
        .config = run->config,
        .source = run->source,
        .client = run->client,
        .queue = run->queue,
        .coverage = &run->coverage,
        .all_events = run->options->all_events,
        .stop_fd = run->options->stop_fd,
        .from_us = from_us,
        .to_us = to_us,
    };
    enum import_result result;
    struct import *import = import_new(&order, run->directory, run->why);
    if (import == NULL)
        return IMPORT_FAILED;
    run->before = (struct import_counts){0};
    do {
        result = import_next(import, run->why);
        if (result == IMPORT_WINDOW && !note_window(run, import_counted(import), import_reached(import)))
            result = IMPORT_FAILED;
    } while (result == IMPORT_STEP || result == IMPORT_WINDOW);
    *counts = *import_counted(import);
    import_free(import);
    return result;
}

/* What was read a day ago is read again: Close may have shown something late. */
static enum import_result read_second(struct run *run)
{
    int64_t to = run->now_us - SECOND_US;
    to = to < run->state.until_us ? to : run->state.until_us;
    /* what was delivered a day ago must still be known */
    if (to <= run->state.verified_us || run->config->dedupe_window_ms * 1000 < 2 * SECOND_US)
        return IMPORT_DONE;
    int64_t from = run->state.verified_us - RECONCILE_OVERLAP_US;
    from = from > run->state.since_us ? from : run->state.since_us;
    from = from > run->state.floor_us ? from : run->state.floor_us;
    run->second = true;
    enum import_result result = read_log(run, from, to, &run->report->second);
    run->second = false;
    return result;
}

enum import_result run_read_log(struct run *run)
{
    int64_t from = choose_start(run), to = run->now_us - UNSETTLED_US;
    run->report->from_us = from;
    run->report->to_us = to > from ? to : from;
    enum import_result result = read_log(run, from, to, &run->report->counts);
    return result == IMPORT_DONE ? read_second(run) : result;
}

/* ---- a loss of events: the claim falls first, durably; then what is gone is fetched, if that counts nothing twice;
 * when all of it is there the loss is forgotten ---- */

static void log_setback(const struct run *run)
{
    char until[DATE_PRINTED], quoted[LOG_QUOTED], advice[300] = "what Close still has is fetched now";
    if (run->on_hold)
        setback_advise(&run->loss, run->source->name, advice, sizeof advice);
    log_write(LEVEL_ERROR, "msg=%s source=%s complete_until=%s reason=%s advice=\"%s\"",
              run->on_hold ? "lost_events_not_fetched" : "claim_set_back", run->source->name,
              date_print(run->state.until_us, DATE_MILLISECONDS, until),
              log_quote(quoted, run->loss.words, strlen(run->loss.words)), advice);
}

/* Close tells its time in whole seconds: what is less than some of them is no difference. */
static int64_t ahead_of_us(int64_t now_us)
{
    int64_t ahead = now_us - clock_unix_ms() * 1000;
    return ahead > -CLOCK_US && ahead < CLOCK_US ? 0 : ahead;
}

/* The operator's time. */
static void take_from(struct run *run)
{
    int64_t from = run->options->from_us;
    if (from < run->now_us - BEYOND_US)
        from = run->now_us - BEYOND_US;
    setback_from(&run->state, from);
    run->on_hold = false;
}

bool run_take_loss(struct run *run)
{
    const struct setback_clock clock = {.now_us = run->now_us,
                                        .ahead_us = ahead_of_us(run->now_us),
                                        .remembered_us = run->config->dedupe_window_ms * 1000};
    if (!loss_read(run->config->state_dir, run->source->name, &run->loss, &run->any_loss, run->why))
        return false;
    bool changed = run->any_loss && setback_apply(&run->state, &run->loss, &clock);
    run->on_hold = run->any_loss && !setback_is_fetched(&run->loss);
    if (run->options->from_us > 0)
        take_from(run);
    if (!changed && run->options->from_us == 0)
        return true;
    if (changed && run->options->from_us == 0)
        log_setback(run);
    return reconcile_state_write(run->directory, &run->state, run->why);
}

/* Whether it is still the one that this run has taken into account. */
static bool is_same(const struct run *run, bool *same, struct error *why)
{
    struct loss now;
    bool any;
    if (!loss_read(run->config->state_dir, run->source->name, &now, &any, why))
        return false;
    *same = any && now.until_ms == run->loss.until_ms;
    return true;
}

bool run_end_loss(struct run *run)
{
    bool same;
    if (run->on_hold) {
        if (run->state.trouble[0] == '\0')
            setback_advise(&run->loss, run->source->name, run->state.trouble, sizeof run->state.trouble);
        return true;
    }
    run->state.again_us = run->state.ahead_us = 0;
    if (!run->any_loss)
        return true;
    return is_same(run, &same, run->why) &&
           (!same || (reconcile_state_write(run->directory, &run->state, run->why) &&
                      loss_clear(run->config->state_dir, run->source->name, run->why)));
}
