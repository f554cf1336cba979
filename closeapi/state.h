/* What reconciling remembers of a source, in the file `reconcile` of its directory. */
#ifndef CLOSEAPI_STATE_H
#define CLOSEAPI_STATE_H

#include "closeapi/closeapi.h"

/* As struct completeness, with microseconds where windows begin and end. All zero: nothing yet. */
struct reconcile_state {
    int64_t since_us, until_us, verified_us;
    char *types; /* owned; NULL: none yet */
    uint64_t missed, missed_large, missed_paused, missed_late, hidden;
    int64_t last_run_ms, last_good_ms;
    int64_t loss_ms;  /* the loss that was applied last: its until_ms (setback.h) */
    int64_t floor_us; /* nothing older is read by itself: it is not known any more whether it was delivered */
    int64_t again_us; /* what is read begins here, though it is older than the claim; 0: it does not */
    int64_t ahead_us; /* while a loss waits for the operator: how far was read beyond it; the claim stays */
    bool paused;
    char trouble[512];
};

/* Reads it; a missing one is all zero. Returns false with the reason. Free with reconcile_state_free. */
bool reconcile_state_read(const char *directory, struct reconcile_state *state, struct error *why);
bool reconcile_state_write(const char *directory, const struct reconcile_state *state, struct error *why);
void reconcile_state_free(struct reconcile_state *state);

#endif
