/* Where the open files of a queue stand: see place.h. */
#include "queue/sqlite/place.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static bool find_place(struct place *place, const char *path, int64_t *bytes)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return false;
    *place = (struct place){.device = status.st_dev, .inode = status.st_ino};
    *bytes = (int64_t)status.st_size;
    return true;
}

static bool stands(const struct place *place, const char *path, int64_t *bytes)
{
    struct place now;
    return find_place(&now, path, bytes) && now.inode == place->inode && now.device == place->device;
}

static void beside(char out[static STATE_PATH], const char *base, const char *end)
{
    snprintf(out, STATE_PATH, "%.4000s%s", base, end);
}

bool places_note(struct places *places, const char *directory, bool has_log)
{
    char real[PATH_MAX];
    struct stat status;
    int64_t bytes;
    *places = (struct places){.has_log = has_log};
    directory_path(places->database_path, directory, "queue.db");
    bool is_link = lstat(places->database_path, &status) == 0 && S_ISLNK(status.st_mode) &&
                   realpath(places->database_path, real) != NULL;
    beside(places->log_path, is_link ? real : places->database_path, "-wal");
    beside(places->index_path, is_link ? real : places->database_path, "-shm");
    return find_place(&places->directory, directory, &bytes) &&
           find_place(&places->database, places->database_path, &bytes) &&
           (!has_log || (find_place(&places->log, places->log_path, &bytes) &&
                         find_place(&places->index, places->index_path, &bytes)));
}

enum placed places_look(const struct places *places, const char *directory, int64_t *database_bytes)
{
    struct place now;
    int64_t bytes;
    enum placed placed = PLACED_WELL;
    if (!stands(&places->database, places->database_path, database_bytes))
        placed = PLACED_DATABASE;
    else if (places->has_log && !stands(&places->log, places->log_path, &bytes))
        placed = PLACED_LOG;
    else if (places->has_log && !stands(&places->index, places->index_path, &bytes))
        placed = PLACED_INDEX;
    if (placed == PLACED_WELL || stands(&places->directory, directory, &bytes))
        return placed;
    return find_place(&now, directory, &bytes) ? PLACED_ELSEWHERE : PLACED_NOWHERE;
}

const char *placed_words(enum placed placed)
{
    static const char *const words[] = {
        [PLACED_WELL] = "nothing was moved",
        [PLACED_NOWHERE] = "the state directory was moved away or removed",
        [PLACED_ELSEWHERE] = "another directory stands in the state directory's place",
        [PLACED_DATABASE] = "the queue's database was removed or replaced",
        [PLACED_LOG] = "the log of the queue's database was removed or replaced",
        [PLACED_INDEX] = "the index of the log of the queue's database was removed or replaced",
    };
    return words[placed];
}
