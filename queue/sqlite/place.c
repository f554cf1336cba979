/* Where the open files of a queue stand: see place.h. */
#include "queue/sqlite/place.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static bool find(struct place *place, const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return false;
    *place = (struct place){.device = status.st_dev, .inode = status.st_ino};
    return true;
}

static bool stands(const struct place *place, const char *path)
{
    struct place now;
    return find(&now, path) && now.inode == place->inode && now.device == place->device;
}

static void beside(char out[static STATE_PATH], const char *base, const char *end)
{
    snprintf(out, STATE_PATH, "%.4000s%s", base, end);
}

bool places_note(struct places *places, const char *directory, bool has_log)
{
    char path[STATE_PATH], real[PATH_MAX];
    struct stat status;
    *places = (struct places){.has_log = has_log};
    directory_path(path, directory, "queue.db");
    bool is_link = lstat(path, &status) == 0 && S_ISLNK(status.st_mode) && realpath(path, real) != NULL;
    beside(places->base, is_link ? real : path, "");
    if (!find(&places->directory, directory) || !find(&places->database, path))
        return false;
    if (!has_log)
        return true;
    beside(path, places->base, "-wal");
    bool found = find(&places->log, path);
    beside(path, places->base, "-shm");
    return found && find(&places->index, path);
}

enum placed places_look(const struct places *places, const char *directory)
{
    char database[STATE_PATH], log[STATE_PATH], index[STATE_PATH];
    struct place now;
    enum placed placed = PLACED_WELL;
    directory_path(database, directory, "queue.db");
    beside(log, places->base, "-wal");
    beside(index, places->base, "-shm");
    if (!stands(&places->database, database))
        placed = PLACED_DATABASE;
    else if (places->has_log && !stands(&places->log, log))
        placed = PLACED_LOG;
    else if (places->has_log && !stands(&places->index, index))
        placed = PLACED_INDEX;
    if (placed == PLACED_WELL || stands(&places->directory, directory))
        return placed;
    return find(&now, directory) ? PLACED_ELSEWHERE : PLACED_NOWHERE;
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
