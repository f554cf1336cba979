/* What reconciling remembers of a source (struct completeness), in the file `reconcile` of its directory. */
#ifndef CLOSEAPI_STATE_H
#define CLOSEAPI_STATE_H

#include "closeapi/closeapi.h"
#include "queue/loss.h"

/* Reads it; a missing one is all zero. Returns false with the reason. Free with completeness_free. */
bool completeness_read(const char *directory, struct completeness *state, struct error *why);
bool completeness_write(const char *directory, const struct completeness *state, struct error *why);

/* ---- a claim of completeness falls with what it is about: what a loss of events (queue/loss.h) means for it. Pure.
 * ----
 */

/* Whether reconciling may fetch by itself what is gone: it is known which events were delivered, or at least up to
 * which date all were; or no event is gone. Else some would be counted twice. */
bool setback_is_fetched(const struct loss *loss);

/* Milliseconds. */
struct setback_clock {
    int64_t now_ms;        /* Unix time, by Close's clock */
    int64_t ahead_ms;      /* how much that is ahead of this machine's, by which losses are noted */
    int64_t remembered_ms; /* how long identities are kept */
};

/* Sets the claim back to before the oldest event that may be gone, unless this loss was applied before, and says where
 * reading has to begin:
 * - identities kept: before what is gone, as far as they are remembered;
 * - identities lost, with a mark: at the mark, and nothing older is ever read again by itself;
 * - only identities lost, without a mark: after the loss;
 * - neither: likewise; the claim stays where it is until an operator names a time (setback_from).
 * Returns whether the state was changed. */
bool setback_apply(struct completeness *state, const struct loss *loss, const struct setback_clock *clock);

/* An operator names the time from which all is to be read: the claim is set back to it. Where it leaves a hole the
 * claim begins there. */
void setback_from(struct completeness *state, int64_t from_ms);

/* Says what to do about a loss that is not fetched by itself, in at most 255 characters. */
void setback_advise(const struct loss *loss, const char *source, char *out, size_t size);

#endif
