/* Events in a state directory whose configuration has been set to queue = none: see queue_left_behind of
 * queue/inspect.h. */
#include <errno.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/lock_file.h"
#include "queue/inspect.h"
#include "queue/sqlite/store.h"

/* As inspect.c counts what waits: of all ids that were given, what was not settled. */
static const char waiting_text[] =
    "SELECT coalesce(sum(max(0, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event_' || s.number), 0)"
    " - (SELECT coalesce(sum(c.n), 0) FROM count c WHERE c.source = s.number AND c.kind IN (1, 2, 3, 4, 7, 10))"
    ")), 0) FROM source s";

_Static_assert(COUNT_DELIVERED == 1 && COUNT_DUPLICATES == 2 && COUNT_DROPPED == 3 && COUNT_DEAD == 4 &&
                   COUNT_MOVED_OUT == 7 && COUNT_LOST == 10,
               "the statement above has these numbers");

static enum database_result count(struct database *database, uint64_t *waiting)
{
    sqlite3_stmt *one = NULL;
    enum database_result result =
        database_result_of(database, sqlite3_prepare_v2(database->db, waiting_text, -1, &one, NULL));
    if (result == DATABASE_DONE && database_step(database, one, &result) == SQLITE_ROW)
        *waiting = (uint64_t)sqlite3_column_int64(one, 0);
    sqlite3_finalize(one);
    return result;
}

/* Keeps others from repairing or replacing the database meanwhile. Where there is no such file nobody does: it is not
 * made, for this may be another user. */
static bool lock_shared(const char *directory, int *lock, struct error *why)
{
    char path[STATE_PATH];
    directory_path(path, directory, "open.lock");
    if (access(path, F_OK) != 0)
        return true;
    int error = lock_take(lock, path, LOCK_SH | LOCK_NB);
    if (error != 0)
        error_set(why, "cannot lock %.300s: %s", path, strerror(error));
    return error == 0;
}

bool queue_left_behind(const struct config *config, uint64_t *waiting, struct error *why)
{
    struct database database = {.write_lock = -1};
    char path[STATE_PATH];
    struct stat status;
    int lock = -1;
    *waiting = 0;
    if (config->queue == QUEUE_SQLITE || config->state_dir == NULL)
        return true;
    directory_path(path, config->state_dir, "queue.db");
    if (stat(path, &status) != 0 || status.st_size == 0)
        return true;
    bool good = lock_shared(config->state_dir, &lock, why);
    if (good) {
        enum database_result result = database_connect_to_look(&database, path);
        if (result == DATABASE_DONE)
            result = count(&database, waiting);
        good = result == DATABASE_DONE;
        if (!good)
            *why = database.why;
        database_close(&database);
    }
    if (lock >= 0)
        close(lock);
    return good;
}
