/* Where the open files of a queue stand: see place.h. */
#include "queue/sqlite/place.h"

#include <sys/stat.h>

#include "queue/sqlite/directory.h"

/* name NULL: the directory itself. */
static bool find(struct place *place, const char *directory, const char *name)
{
    char path[STATE_PATH];
    struct stat status;
    if (name != NULL)
        directory_path(path, directory, name);
    if (stat(name == NULL ? directory : path, &status) != 0)
        return false;
    *place = (struct place){.device = status.st_dev, .inode = status.st_ino};
    return true;
}

static bool stands(const struct place *place, const char *directory, const char *name)
{
    struct place now;
    return find(&now, directory, name) && now.inode == place->inode && now.device == place->device;
}

bool places_note(struct places *places, const char *directory, bool has_log)
{
    *places = (struct places){.has_log = has_log};
    return find(&places->directory, directory, NULL) && find(&places->database, directory, "queue.db") &&
           (!has_log ||
            (find(&places->log, directory, "queue.db-wal") && find(&places->index, directory, "queue.db-shm")));
}

enum placed places_look(const struct places *places, const char *directory)
{
    struct place now;
    enum placed placed = PLACED_WELL;
    if (!stands(&places->database, directory, "queue.db"))
        placed = PLACED_DATABASE;
    else if (places->has_log && !stands(&places->log, directory, "queue.db-wal"))
        placed = PLACED_LOG;
    else if (places->has_log && !stands(&places->index, directory, "queue.db-shm"))
        placed = PLACED_INDEX;
    if (placed == PLACED_WELL || stands(&places->directory, directory, NULL))
        return placed;
    return find(&now, directory, NULL) ? PLACED_ELSEWHERE : PLACED_NOWHERE;
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
