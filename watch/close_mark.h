/* What is known of a source's subscription in Close, for people to look at: who asks Close writes it, the status page
 * and the alerts read it. A small file for each source in the state directory, close.NAME, which may be deleted at any
 * time.
 */
#ifndef WATCH_CLOSE_MARK_H
#define WATCH_CLOSE_MARK_H

#include <stdbool.h>
#include <stdint.h>

struct close_mark {
    int64_t asked_ms;       /* when Close was asked last; Unix time; 0: never, as below */
    int64_t complete_until; /* Unix time in ms: all that Close logged before is here */
    bool paused;            /* Close has paused the subscription */
    char words[200];        /* why, or what went wrong; "": nothing */
};

/* Reads it; what cannot be read is 0. */
void close_mark_read(const char *state_dir, const char *source, struct close_mark *mark);

/* Writes it anew. Returns false when that fails; errno says why. */
bool close_mark_write(const char *state_dir, const char *source, const struct close_mark *mark);

#endif
