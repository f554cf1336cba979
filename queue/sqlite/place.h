/* Where the open files of a queue stand: a file that is removed or replaced goes on existing for whoever has it open,
 * and everything that is written into it is gone when the last one closes it. Looked at by path alone: no file that
 * SQLite has open is opened here (database.h). */
#ifndef QUEUE_SQLITE_PLACE_H
#define QUEUE_SQLITE_PLACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "queue/sqlite/directory.h"

enum placed {
    PLACED_WELL,      /* all stand where they were opened */
    PLACED_NOWHERE,   /* the state directory is gone: moved away, or removed */
    PLACED_ELSEWHERE, /* another directory stands there */
    PLACED_DATABASE,  /* the database is gone, or another one stands there */
    PLACED_LOG,       /* its log */
    PLACED_INDEX,     /* the log's index */
};

struct place {
    dev_t device;
    ino_t inode;
};

struct places {
    struct place directory, database, log, index;
    bool has_log; /* else log and index mean nothing */
    /* Log and index lie beside the file itself, where queue.db is a link. */
    char database_path[STATE_PATH], log_path[STATE_PATH], index_path[STATE_PATH];
};

/* Notes where they stand. Returns false when one of them is missing. */
bool places_note(struct places *places, const char *directory, bool has_log);

/* Whether they still do: three calls of stat. *database_bytes: the database's size, when all stand. */
enum placed places_look(const struct places *places, const char *directory, int64_t *database_bytes);

/* What is not as it was, for people. */
const char *placed_words(enum placed placed);

#endif
