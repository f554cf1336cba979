/* Where the Close side keeps what it knows: a directory for each source. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/lock_file.h"
#include "closeapi/closeapi.h"
#include "config/keyring.h"

#define LOOK_MS 50 /* between tries for a lock: its end is not told */

bool closeapi_directory(const struct config *config, const struct source *source, char out[static 4096],
                        struct error *why)
{
    char name[200];
    if (config->state_dir == NULL) {
        error_set(why, "there is no state_dir, where keys and progress are kept: set it in the configuration");
        return false;
    }
    char parent[SMALL_PATH];
    snprintf(name, sizeof name, "closeapi/%s", source->name);
    int length = snprintf(parent, sizeof parent, "%s", config->state_dir);
    char *slash = strrchr(parent, '/');
    if (length >= (int)sizeof parent || slash == NULL || slash == parent) {
        error_set(why, "state_dir %.200s cannot be used", config->state_dir);
        return false;
    }
    *slash = '\0';
    char made[SMALL_PATH];
    return small_directory(made, parent, slash + 1, why) && small_directory(out, config->state_dir, name, why);
}

/* Says who has the lock. */
static void describe_holder(const char *path, struct error *why)
{
    struct lock_holder holder = lock_find_holder(path);
    if (holder.stopped)
        error_set(why, "process %ld is at it, and was stopped (Ctrl-Z): `kill -CONT %ld` lets it go on",
                  (long)holder.pid, (long)holder.pid);
    else if (holder.pid > 0)
        error_set(why, "process %ld is at it now: try again when it has ended", (long)holder.pid);
    else
        error_set(why, "another process is at it now: try again when it has ended");
}

bool closeapi_is_stopped(const struct config *config, const struct source *source, struct error *why)
{
    char path[SMALL_PATH];
    int length = snprintf(path, sizeof path, "%s/closeapi/%s/reconcile.lock", config->state_dir, source->name);
    if (length >= (int)sizeof path || !lock_find_holder(path).stopped)
        return false;
    describe_holder(path, why);
    return true;
}

int closeapi_lock(const char *directory, const char *name, int64_t wait_ms, struct error *why)
{
    char path[SMALL_PATH];
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    moment deadline = clock_now() + wait_ms;
    snprintf(path, sizeof path, "%.3900s/%s", directory, name);
    int fd = -1, error;
    while ((error = lock_take(&fd, path, LOCK_EX | LOCK_NB)) != 0) {
        if (error == EWOULDBLOCK && clock_now() < deadline) {
            nanosleep(&pause, NULL);
            continue;
        }
        if (error == EWOULDBLOCK)
            describe_holder(path, why);
        else
            error_set(why, "cannot lock %.300s: %s", path, strerror(error));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

static bool pause_name(char out[static 128], const char *id, struct error *why)
{
    if (!keyring_id_is_good(id)) {
        error_set(why, "\"%.60s\" cannot be the id of a subscription", id);
        return false;
    }
    snprintf(out, 128, "paused-%s", id);
    return true;
}

bool closeapi_note_pause(const char *directory, const char *id, bool paused, struct error *why)
{
    char name[128];
    if (!pause_name(name, id, why))
        return false;
    return paused ? small_file_replace(directory, name, "by = closecrm.fcgi pause\n", why)
                  : small_file_remove(directory, name, why);
}

bool closeapi_paused_by_us(const char *directory, const char *id)
{
    char path[SMALL_PATH], name[128];
    if (!pause_name(name, id, NULL))
        return false;
    snprintf(path, sizeof path, "%.3900s/%s", directory, name);
    return access(path, F_OK) == 0;
}
