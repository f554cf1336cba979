/* Where the open files of a queue stand: a file that is removed or replaced goes on existing for whoever has it open,
 * and everything that is written into it is gone when the last one closes it. Looked at by path alone: no file that
 * SQLite has open is opened here (database.h). */
#ifndef QUEUE_SQLITE_PLACE_H
#define QUEUE_SQLITE_PLACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "queue/sqlite/directory.h"

enum open_files_state {
    FILES_IN_PLACE,           /* all stand where they were opened */
    FILES_DIRECTORY_GONE,     /* the state directory is gone: moved away, or removed */
    FILES_DIRECTORY_REPLACED, /* another directory stands there */
    FILES_DATABASE_REPLACED,  /* the database is gone, or another one stands there */
    FILES_LOG_REPLACED,       /* its log */
    FILES_INDEX_REPLACED,     /* the log's index */
};

struct file_identity {
    dev_t device;
    ino_t inode;
};

struct open_files {
    struct file_identity directory, database, log, index;
    bool has_log; /* else log and index mean nothing */
    /* Log and index lie beside the file itself, where queue.db is a link. */
    char database_path[STATE_PATH], log_path[STATE_PATH], index_path[STATE_PATH];
};

/* Notes where they stand. Returns false when one of them is missing. */
bool open_files_record(struct open_files *files, const char *directory, bool has_log);

/* Whether they still do: three calls of stat. *database_bytes: the database's size, when all stand. */
enum open_files_state open_files_check(const struct open_files *files, const char *directory, int64_t *database_bytes);

/* What is not as it was, for people. */
const char *open_files_words(enum open_files_state state);

#endif
