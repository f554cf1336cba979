/* Where the open files of a queue stand: see place.h. */
#include "queue/sqlite/place.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static bool read_file_identity(struct file_identity *identity, const char *path, int64_t *bytes)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return false;
    *identity = (struct file_identity){.device = status.st_dev, .inode = status.st_ino};
    *bytes = (int64_t)status.st_size;
    return true;
}

static bool is_same_file(const struct file_identity *identity, const char *path, int64_t *bytes)
{
    struct file_identity now;
    return read_file_identity(&now, path, bytes) && now.inode == identity->inode && now.device == identity->device;
}

static void path_beside(char out[static STATE_PATH], const char *base, const char *end)
{
    snprintf(out, STATE_PATH, "%.4000s%s", base, end);
}

bool open_files_record(struct open_files *files, const char *directory, bool has_log)
{
    char real[PATH_MAX];
    struct stat status;
    int64_t bytes;
    *files = (struct open_files){.has_log = has_log};
    directory_path(files->database_path, directory, "queue.db");
    bool is_link = lstat(files->database_path, &status) == 0 && S_ISLNK(status.st_mode) &&
                   realpath(files->database_path, real) != NULL;
    path_beside(files->log_path, is_link ? real : files->database_path, "-wal");
    path_beside(files->index_path, is_link ? real : files->database_path, "-shm");
    return read_file_identity(&files->directory, directory, &bytes) &&
           read_file_identity(&files->database, files->database_path, &bytes) &&
           (!has_log || (read_file_identity(&files->log, files->log_path, &bytes) &&
                         read_file_identity(&files->index, files->index_path, &bytes)));
}

enum open_files_state open_files_check(const struct open_files *files, const char *directory, int64_t *database_bytes)
{
    struct file_identity now;
    int64_t bytes;
    enum open_files_state state = FILES_IN_PLACE;
    if (!is_same_file(&files->database, files->database_path, database_bytes))
        state = FILES_DATABASE_REPLACED;
    else if (files->has_log && !is_same_file(&files->log, files->log_path, &bytes))
        state = FILES_LOG_REPLACED;
    else if (files->has_log && !is_same_file(&files->index, files->index_path, &bytes))
        state = FILES_INDEX_REPLACED;
    if (state == FILES_IN_PLACE || is_same_file(&files->directory, directory, &bytes))
        return state;
    return read_file_identity(&now, directory, &bytes) ? FILES_DIRECTORY_REPLACED : FILES_DIRECTORY_GONE;
}

const char *open_files_words(enum open_files_state state)
{
    static const char *const words[] = {
        [FILES_IN_PLACE] = "nothing was moved",
        [FILES_DIRECTORY_GONE] = "the state directory was moved away or removed",
        [FILES_DIRECTORY_REPLACED] = "another directory stands in the state directory's place",
        [FILES_DATABASE_REPLACED] = "the queue's database was removed or replaced",
        [FILES_LOG_REPLACED] = "the log of the queue's database was removed or replaced",
        [FILES_INDEX_REPLACED] = "the index of the log of the queue's database was removed or replaced",
    };
    return words[state];
}
