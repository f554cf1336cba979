/* A machine's copies of what several machines share: the files below its state directory, and a record of which they
 * are. For engines that have the originals elsewhere. */
#ifndef KEPT_COPIES_H
#define KEPT_COPIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* An original: where its copy is, below the state directory, and what it says. */
struct original {
    const char *path;
    const char *text; /* not necessarily with a NUL at its end */
    size_t length;
};

#define ORIGIN 40 /* bytes of the name of the place that has the originals, with its NUL */

struct copies {
    const char *state_dir;
    char origin[ORIGIN]; /* "": nothing was copied yet */
    int64_t version;     /* of all originals together, when they were copied; 0: anew */
    char *known;         /* "\npath\npath\n" of those that were copied */
    int lock;
};

/* Locks the record and reads it; for as short as possible. state_dir: borrowed. Returns false with the reason when
 * another process still has it after wait_ms. */
bool copies_begin(struct copies *copies, const char *state_dir, int64_t wait_ms, struct error *why);

void copies_end(struct copies *copies);

/* Has what is there of these originals copied once more where they are not those that were copied last: another place,
 * or an earlier state of it, as of a backup. What this machine has beyond them is new then. */
void copies_compare(struct copies *copies, const char *origin, int64_t version);

/* Calls put for each file that was never copied: this machine made it, or had it before anything was shared. Returns
 * false when put does, or with the reason. */
bool copies_find_new(const struct copies *copies, bool (*put)(void *context, const char *path, const char *text),
                     void *context, struct error *why);

/* Makes the files what the originals say, and removes those whose originals are gone. Returns false with the reason;
 * the next call goes on. */
bool copies_take(struct copies *copies, const char *origin, int64_t version, const struct original *originals,
                 size_t count, struct error *why);

/* Notes that they were compared and are the same. */
void copies_touch(const struct copies *copies);

/* Whether they were compared within so many milliseconds; whether ever. */
bool copies_are_fresh(const char *state_dir, int64_t ms);
bool copies_are_known(const char *state_dir);

/* Sets the name of the place that has the originals. Returns false when nothing was copied yet. */
bool copies_origin(const char *state_dir, char origin[static ORIGIN]);

/* Whether a path may be that of a copy, and not lead elsewhere. */
bool copies_may_be(const char *path);

#endif
