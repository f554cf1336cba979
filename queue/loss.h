/* Records of lost events, outside of the database: the time range that may be incomplete since the database was
 * damaged, lost or restored from a backup. The file STATE_DIR/loss/SOURCE exists until reconciling has fetched the
 * missing events from Close; until then nothing is reported complete beyond its beginning. Any process may call these.
 * Whoever writes a record holds open.lock exclusively or is the only process that uses the queue. */
#ifndef QUEUE_LOSS_H
#define QUEUE_LOSS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOSS_WORDS 400

/* Times are Unix time in milliseconds. */
struct loss {
    int64_t from_ms;        /* events received from here on may be lost; 0: from the beginning */
    int64_t until_ms;       /* when the record was written: events received later are safe */
    bool identities_kept;   /* identities of delivered events are intact: fetching again makes no duplicates */
    int64_t mark_ms;        /* every event with an older date_updated was settled (struct delivered); 0: unknown */
    char words[LOSS_WORDS]; /* what happened, for people; one line */
};

/* Writes a record, durably. With mark_ms 0 the delivered mark is used. An existing record is merged: the earliest
 * beginning and mark (unknown counts as earliest), the latest end, identities_kept only if both have it. Returns false
 * with the reason; then the record is unchanged. */
bool loss_note(const char *state_dir, const char *source, const struct loss *loss, struct error *why);

/* Reads the record; *any: there is one. A record that cannot be parsed counts as everything lost. Returns false with
 * the reason when it cannot be read. */
bool loss_read(const char *state_dir, const char *source, struct loss *loss, bool *any, struct error *why);

/* Deletes the record, once the events are fetched or an operator has accepted the loss. No record is no error. Returns
 * false with the reason. */
bool loss_clear(const char *state_dir, const char *source, struct error *why);

/* ---- the delivered mark ---- */

struct delivered {
    char source[80];
    int64_t mark_ms; /* every event with an older date_updated was settled: Unix time in milliseconds, Close's clock */
};

/* Reads the mark of a source; 0: there is none. */
int64_t delivered_mark(const char *state_dir, const char *source);

/* Replaces the marks of all sources. Returns false with the reason; then the old ones are unchanged. */
bool delivered_write(const char *state_dir, const struct delivered *marks, size_t count, struct error *why);

/* Finds an event's date_updated in its unparsed body, for inspecting waiting events. Unix time in microseconds;
 * DATE_UNREADABLE when there is none. */
int64_t delivered_date_of(const char *body, size_t length);

#endif
