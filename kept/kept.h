/* What a configuration's processes must remember and agree on, besides events: keys that `subscribe` obtained, how far
 * reconciling and backfills have come, what was begun, what is paused. Small texts, each in a file below the state
 * directory, where anybody reads them as files; whoever changes one does it here.
 *
 * Two engines. `files`: the files are all there is. `postgresql`: the database of the queue has them, for several
 * machines, and the files are this machine's copy, a second old at most: it is what goes on being used while the
 * database is away, and what a start without it begins with. Reading never waits for the database. */
#ifndef KEPT_KEPT_H
#define KEPT_KEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"

/* Locks, and changes made under them. One thread at a time. */
struct kept;

/* Returns NULL with the reason when memory is out, or the program was built without the engine. Waits for nothing.
 * config: borrowed, with a state_dir. */
struct kept *kept_open(const struct config *config, struct error *why);

/* Releases its locks. NULL is allowed. */
void kept_close(struct kept *kept);

#define KEPT_SECRET 32 /* bytes */
#define KEPT_LOCKS 8   /* most locks of one struct kept */

/* Takes a lock that no other process has then, on whichever machine, until kept_close, and brings this machine's copies
 * up to date. directory, name: a lock file of its own below the state directory. Returns false with the reason when
 * another process still has it after wait_ms, or it cannot be had.
 *
 * A lock that several machines share can be lost: its session with the database ends. Then each further change by the
 * same struct kept fails, and says so. */
bool kept_lock(struct kept *kept, const char *directory, const char *name, int64_t wait_ms, struct error *why);

/* Replaces directory/name, or makes it, as files_replace: durably, and on all machines or on none. Where several share
 * it, not if another one has changed it since the last kept_lock, kept_look or change by this struct kept. Returns
 * false with the reason; then it may have been changed all the same, as after a connection that was cut. */
bool kept_put(struct kept *kept, const char *directory, const char *name, const char *text, struct error *why);

/* Removes it likewise. A missing one is no error. */
bool kept_remove(struct kept *kept, const char *directory, const char *name, struct error *why);

/* Moves it to another directory. *taken: that has another one of this name; both stay. Killed anywhere and called again
 * it goes on. Returns false with the reason. */
bool kept_move(struct kept *kept, const char *from, const char *to, const char *name, bool *taken, struct error *why);

/* Whether the process that has a lock is suspended (Ctrl-Z); why then says so, and what to do. path: of the lock file.
 */
bool kept_is_stopped(const char *path, struct error *why);

/* Brings this machine's copies up to date. Blocks for some seconds at most. Returns false with the reason. */
bool kept_look(struct kept *kept, struct error *why);

/* As kept_look, unless that was done within the last second, by whichever process, or there is no state directory yet.
 */
bool kept_catch_up(const struct config *config, struct error *why);

/* Whether several machines may share it. */
bool kept_is_shared(const struct config *config);

/* Sets a secret that all machines which share it have alike. Returns false where nothing is shared, or this machine
 * does not know it yet (kept_is_known). */
bool kept_secret(const struct config *config, unsigned char secret[static KEPT_SECRET]);

/* Whether this machine has copies, however old; false, with the reason, on one whose first look has not succeeded yet:
 * what it lacks may be there nevertheless. */
bool kept_is_known(const struct config *config, struct error *why);

/* ---- What each machine says of itself, for all of them to show: figures and samples, for people. A machine alone
 * writes its records, so nobody conflicts, and nothing that is promised depends on them: a loss costs what is shown.
 * ---- */

struct kept_record {
    const char *machine; /* who says it; a file's name, too */
    const char *name;    /* likewise: the record of this name replaces the one before */
    const void *bytes;
    size_t length;
};

#define KEPT_RECORDS 16 /* most that are said at once */

/* Who speaks for this machine, and hears the others: one thread of the machine at a time, which may wait. */
struct kept_speaker {
    void *context;
    const char *(*name)(void *context); /* of this machine; "": it has none, and says nothing */
    void (*hear)(void *context, const struct kept_record *record);
    /* What is to be said after what was heard; valid until the next call. Returns how many records there are. Where it
     * is said elsewhere than before, whatever stands in kept/heard.h's folder is removed first. */
    size_t (*say)(void *context, struct kept_record records[KEPT_RECORDS]);
    void (*said)(void *context); /* the place has them */
    void (*close)(void *context);
};

/* Hears and says, once. Blocks for some seconds at most. Returns false with the reason. */
bool kept_exchange(struct kept *kept, const struct kept_speaker *speaker, struct error *why);

/* Says these at once, also in the name of others: without bytes, that something they said is gone. Returns false with
 * the reason. */
bool kept_say(struct kept *kept, const struct kept_record *records, size_t count, struct error *why);

/* When the others were heard last, by this machine's clock; 0: never, or there are none. */
int64_t kept_heard_ms(const struct config *config);

/* Brings this machine's copies up to date twice a second, in a thread of its own, unless another process of this
 * machine does. Before it returns it has tried once. NULL: the engine has no use for it, or no thread can be started,
 * which is logged. speaker: says and hears every few seconds; it is closed with the watch, or at once where there is
 * none; all NULL: nobody does. */
struct kept_watch *kept_watch_start(const struct config *config, const struct kept_speaker *speaker);

/* Ends it; NULL is allowed. Returns false when its thread is connecting: it is left behind, with what it uses. */
bool kept_watch_stop(struct kept_watch *watch);

#endif
