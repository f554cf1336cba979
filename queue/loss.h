/* A loss of events, noted outside of the database: which stretch of time may be incomplete since the database was
 * damaged, lost or put back from a backup. It stands in STATE_DIR/loss/SOURCE until reconciling has fetched from Close
 * what is gone; as long as it stands, no claim of completeness reaches beyond its beginning. Any process may call
 * these. Who notes a loss holds open.lock exclusively, or is the only process that has the queue. */
#ifndef QUEUE_LOSS_H
#define QUEUE_LOSS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOSS_WORDS 400

/* Times are Unix time in milliseconds. */
struct loss {
    int64_t from_ms;      /* events received from here on may be gone; 0: from the beginning */
    int64_t until_ms;     /* when the loss was noted: what is received later is safe */
    bool identities_kept; /* what was delivered is still known: fetching again counts nothing twice */
    int64_t mark_ms; /* whatever Close dates before was delivered, dropped or set aside (see delivered.h); 0: unknown */
    char words[LOSS_WORDS]; /* what happened, for people; one line */
};

/* Notes a loss, durably. With mark_ms 0 the mark is taken from the delivered mark, as it stands. One that is noted
 * already is merged with it: the earliest beginning and mark (none at all counts as earliest), the latest end,
 * identities are kept only if they are in both. Returns false with the reason; then the one before stands. */
bool loss_note(const char *state_dir, const char *source, const struct loss *loss, struct error *why);

/* Reads it; *any tells whether there is one. One that cannot be understood counts as everything lost. Returns false
 * with the reason when it cannot be read. */
bool loss_read(const char *state_dir, const char *source, struct loss *loss, bool *any, struct error *why);

/* Forgets it: all of it is fetched, or whoever decides has accepted it. One that is not there is fine. Returns false
 * with the reason. */
bool loss_clear(const char *state_dir, const char *source, struct error *why);

/* ---- delivered ---- */

struct delivered {
    char source[80];
    int64_t mark_ms; /* every event with a date_updated before was settled: Unix time in milliseconds, Close's clock */
};

/* Reads the mark of a source; 0: there is none. */
int64_t delivered_mark(const char *state_dir, const char *source);

/* Replaces all marks. Returns false with the reason; then the old ones stand. */
bool delivered_write(const char *state_dir, const struct delivered *marks, size_t count, struct error *why);

/* Finds an event's date_updated in its body as it came, without parsing the body as a whole: for looking at what
 * waits. Unix time in microseconds; DATE_UNREADABLE when there is none. */
int64_t delivered_date_of(const char *body, size_t length);

#endif
