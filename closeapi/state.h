/* What reconciling remembers of a source, in the file `reconcile` of its directory. */
#ifndef CLOSEAPI_STATE_H
#define CLOSEAPI_STATE_H

#include "closeapi/closeapi.h"
#include "queue/loss.h"

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

/* ---- a claim of completeness falls with what it is about: what a loss of events (queue/loss.h) means for what
 * reconciling has noted. Pure. ---- */

/* Whether reconciling may fetch by itself what is gone: it is known which events were delivered, or at least up to
 * which date all were; or no event is gone. Else some would be counted twice. */
bool setback_is_fetched(const struct loss *loss);

/* Microseconds. */
struct setback_clock {
    int64_t now_us;        /* Unix time, by Close's clock */
    int64_t ahead_us;      /* how much that is ahead of this machine's, by which losses are noted */
    int64_t remembered_us; /* how long identities are kept */
};

/* Sets the claim back to before the oldest event that may be gone, unless this loss was applied before, and says where
 * reading has to begin:
 * - identities kept: before what is gone, as far as they are remembered;
 * - identities lost, with a mark: at the mark, and nothing older is ever read again by itself;
 * - only identities lost, without a mark: after the loss;
 * - neither: likewise; the claim stays where it is until an operator names a time (setback_from).
 * Returns whether the state was changed. */
bool setback_apply(struct reconcile_state *state, const struct loss *loss, const struct setback_clock *clock);

/* An operator names the time from which all is to be read: the claim is set back to it. Where it leaves a hole the
 * claim begins there. */
void setback_from(struct reconcile_state *state, int64_t from_us);

/* Says what to do about a loss that is not fetched by itself, in at most 255 characters. */
void setback_advise(const struct loss *loss, const char *source, char *out, size_t size);

#endif
