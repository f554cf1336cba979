/* Checkpoints: what the write-ahead log holds is copied into the database, small and often, so that the log stays
 * short and no request thread ever does it. By the process that owns the reading, from one thread.
 *
 * SQLite up to 3.51.2 can lose commits when a checkpoint begins while the log is copied completely and a writer begins
 * the log anew just then (sqlite.org/wal.html#walresetbug). While frames are uncopied no writer can do that. So a
 * checkpoint begins only when some surely are, or while writers are locked out. That costs nothing, and so it is done
 * with every SQLite: distributions mend the bug without a new number. */
#ifndef QUEUE_SQLITE_CHECKPOINT_H
#define QUEUE_SQLITE_CHECKPOINT_H

#include "queue/sqlite/database.h"

/* All zero does nothing, and may be closed. */
struct checkpointer {
    /* Checkpoints and reads `PRAGMA data_version`, nothing else: everything that is written, by this process too, is
     * another connection's, and so the version changes with it. */
    struct database database;
    bool open;       /* and in a database that has a log */
    bool has_base;   /* base says something */
    int64_t base;    /* the version right after the last checkpoint: all that came later is uncopied */
    bool incomplete; /* the last checkpoint left frames uncopied */
    bool unsure; /* there may be uncopied frames that do not show: those committed while it ended, or before it began */
    bool failed; /* the last checkpoint did */
    bool was_quiet; /* the last time nothing had been committed */
    int frames;     /* in the log, when the last checkpoint began */
};

/* Opens its connection. Returns DONE, also where there is no log, or the result with the reason in database.why. */
enum database_result checkpointer_open(struct checkpointer *checkpointer, const char *directory);

/* Copies what was committed since the last time. When the log has become too long writers are held off for a moment,
 * so that it begins anew. The second time in a row that nothing was committed, and there may be uncopied frames all the
 * same, they are copied with the writers held off, if none writes just now. */
void checkpointer_copy(struct checkpointer *checkpointer);

/* Whether it should be called again soon, though nothing was committed: to copy what came last. */
bool checkpointer_has_more(const struct checkpointer *checkpointer);

/* Copies all and truncates the log, with the writers held off: it may be the log that fills the disk. */
void checkpointer_empty(struct checkpointer *checkpointer);

/* Copies what is there at the end, waiting for nobody, and closes the connection. */
void checkpointer_finish(struct checkpointer *checkpointer);

/* Closes the connection and copies nothing. */
void checkpointer_close(struct checkpointer *checkpointer);

/* Whether SQLite's release of that number (3051003 is 3.51.3) has the bug, unless its distributor has mended it. */
bool checkpoint_has_reset_bug(int version);

#endif
