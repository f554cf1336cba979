/* Reconciling after a loss of events: the claim falls first, durably; then what is gone is fetched, if that counts
 * nothing twice; when all of it is there the loss is forgotten. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/times.h"
#include "closeapi/reconcile_private.h"
#include "closeapi/setback.h"

#define FAR_US (INT64_C(30) * 24 * 3600 * 1000000) /* Close has nothing older */
#define CLOCK_US INT64_C(5000000)

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
    if (from < run->now_us - FAR_US)
        from = run->now_us - FAR_US;
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
