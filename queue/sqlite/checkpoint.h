/* Checkpoints: copy the write-ahead log into the database, small and often, so that the log stays short and no request
 * thread has to do it. By the owner of the consumer lock, from one thread.
 *
 * SQLite up to 3.51.2 can lose commits when a checkpoint begins while the log is completely copied and a writer
 * restarts the log at that moment (sqlite.org/wal.html#walresetbug). While frames are uncopied no writer can restart
 * it. So a checkpoint begins only when some frames certainly are uncopied, or while writers are locked out. That costs
 * nothing, so every SQLite version is treated so: distributions fix the bug without changing the version. */
#ifndef QUEUE_SQLITE_CHECKPOINT_H
#define QUEUE_SQLITE_CHECKPOINT_H

#include "queue/sqlite/database.h"

/* All zero does nothing and may be closed. */
struct checkpointer {
    /* A connection for checkpoints and `PRAGMA data_version` only: then every commit, also of this process, is another
     * connection's and changes the version. */
    struct database database;
    bool open;       /* open, and the database has a log */
    bool has_base;   /* `base` is valid */
    int64_t base;    /* data_version right after the last checkpoint: a later one means uncopied frames */
    bool incomplete; /* the last checkpoint left frames uncopied */
    bool unsure;     /* frames may be uncopied although data_version is `base`: committed before or while it was read */
    bool failed;     /* the last checkpoint failed */
    bool was_quiet;  /* nothing had been committed at the last call */
    int frames;      /* in the log when the last checkpoint began */
};

/* Opens the connection. Returns DONE, also where there is no log, or the result with the reason in database.why. */
enum database_result checkpointer_open(struct checkpointer *checkpointer, const char *directory);

/* Copies what was committed since the last call. When the log has become too long, locks writers out briefly so that
 * the log restarts. After two calls without commits, copies frames that may be uncopied with writers locked out, unless
 * a write is running. */
void checkpointer_copy(struct checkpointer *checkpointer);

/* Whether checkpointer_copy should be called again soon without new commits, to copy the last ones. */
bool checkpointer_has_more(const struct checkpointer *checkpointer);

/* Copies everything and truncates the log, with writers locked out: the log may be what fills the disk. */
void checkpointer_empty(struct checkpointer *checkpointer);

/* Copies what remains without waiting for other connections, and closes the connection. */
void checkpointer_finish(struct checkpointer *checkpointer);

/* Closes the connection without copying. */
void checkpointer_close(struct checkpointer *checkpointer);

/* Whether the SQLite version (3051003 is 3.51.3) has the WAL-reset bug, unless its distributor has fixed it. */
bool checkpoint_has_reset_bug(int version);

#endif
