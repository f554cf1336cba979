/* How far a claim falls with a loss: see setback.h. */
#include "closeapi/setback.h"

#include <stdio.h>
#include <string.h>

#include "base/times.h"

/* Close tries for 72 hours to deliver an event: what was received at a time may bear a date that much older. */
#define LATE_US (INT64_C(73) * 3600 * 1000000)

static int64_t lower(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t higher(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Only identities are lost. */
static bool no_event_is_gone(const struct loss *loss)
{
    return loss->from_ms >= loss->until_ms;
}

bool setback_is_fetched(const struct loss *loss)
{
    return loss->identities_kept || loss->mark_ms > 0 || no_event_is_gone(loss);
}

/* Nothing before is claimed any more. */
static void begin_claim_at(struct reconcile_state *state, int64_t us)
{
    state->since_us = state->until_us = state->verified_us = us;
}

bool setback_apply(struct reconcile_state *state, const struct loss *loss, const struct setback_clock *clock)
{
    if (state->loss_ms == loss->until_ms)
        return false;
    state->loss_ms = loss->until_ms;
    int64_t gone_us = loss->from_ms == 0 ? 0 : loss->from_ms * 1000 + clock->ahead_us - LATE_US;
    if (no_event_is_gone(loss))
        gone_us = INT64_MAX;
    int64_t floor_us = clock->now_us - clock->remembered_us;
    if (!loss->identities_kept) {
        floor_us = loss->mark_ms > 0 ? loss->mark_ms * 1000 : loss->until_ms * 1000 + clock->ahead_us;
        state->floor_us = higher(state->floor_us, floor_us);
    }
    bool claimed = state->until_us > 0;
    state->until_us = lower(state->until_us, higher(gone_us, state->since_us));
    state->verified_us = lower(state->verified_us, state->until_us);
    if (!setback_is_fetched(loss)) {
        state->ahead_us = higher(state->ahead_us, floor_us);
        return true;
    }
    /* what lies between cannot be read again; and without a claim reading would begin a day before */
    bool anew = claimed ? state->until_us < floor_us : !loss->identities_kept;
    if (anew)
        begin_claim_at(state, floor_us);
    else if (gone_us > 0 && gone_us < state->since_us) /* it was gone before the claim began: fetched all the same */
        state->again_us = higher(gone_us, floor_us);
    return true;
}

void setback_from(struct reconcile_state *state, int64_t from_us)
{
    if (from_us > state->until_us || state->until_us == 0) {
        begin_claim_at(state, from_us);
    } else {
        state->since_us = lower(state->since_us, from_us);
        state->until_us = from_us;
        state->verified_us = lower(state->verified_us, from_us);
    }
    state->again_us = state->ahead_us = 0;
}

void setback_advise(const struct loss *loss, const char *source, char *out, size_t size)
{
    char from[DATE_PRINTED] = "30d", until[DATE_PRINTED];
    if (loss->from_ms > 0)
        date_print_ms(loss->from_ms, DATE_Z, from);
    date_print_ms(loss->until_ms, DATE_Z, until);
    snprintf(
        out, size,
        "events from %s until %s may be gone: `closecrm.fcgi reconcile --source %s --from %s` fetches them, and may "
        "count twice what was delivered; --from 0s leaves it so",
        from, until, source, from);
}
