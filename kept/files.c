/* The engine `files` of kept.h: the files are all there is. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "kept/engine.h"

static void *files_open(const struct config *config, struct error *why)
{
    (void)config, (void)why;
    static char nothing; /* no state, and not NULL */
    return &nothing;
}

static void files_close(void *state)
{
    (void)state;
}

static bool files_lock(void *state, const char *path, int64_t wait_ms, struct error *why)
{
    (void)state, (void)path, (void)wait_ms, (void)why;
    return true; /* the lock file is all that it takes */
}

static bool files_put(void *state, const char *directory, const char *name, const char *text, struct error *why)
{
    (void)state;
    return files_replace(directory, name, text, why);
}

static bool files_drop(void *state, const char *directory, const char *name, struct error *why)
{
    (void)state;
    return files_remove(directory, name, why);
}

/* ---- moving. A file gets its second name before it loses the first, so that it is there at any moment; it never takes
 * the place of another. ---- */

static bool is_same_file(const char *a, const char *b)
{
    struct stat first, second;
    return lstat(a, &first) == 0 && lstat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

/* Where the file system has no hard links, a check under the locks that the new name is free must do. */
static bool link_or_rename(const char *from, const char *to)
{
    if (link(from, to) == 0 || errno == EEXIST)
        return errno != EEXIST || is_same_file(from, to);
    struct stat status;
    if ((errno != EPERM && errno != EOPNOTSUPP) || lstat(to, &status) == 0)
        return false;
    return rename(from, to) == 0;
}

static bool move_failed(const char *path, struct error *why)
{
    error_set(why, "cannot move %.300s: %s", path, strerror(errno));
    return false;
}

static bool files_move(void *state, const char *from, const char *to, const char *name, bool *taken, struct error *why)
{
    (void)state;
    char old_path[FILES_PATH + 300], new_path[FILES_PATH + 300];
    snprintf(old_path, sizeof old_path, "%s/%s", from, name);
    snprintf(new_path, sizeof new_path, "%s/%s", to, name);
    errno = 0;
    if (!link_or_rename(old_path, new_path)) {
        struct stat status;
        *taken = lstat(new_path, &status) == 0;
        return *taken || move_failed(old_path, why);
    }
    return unlink(old_path) == 0 || errno == ENOENT || move_failed(old_path, why);
}

/* ---- nobody else has any ---- */

static bool files_look(void *state, struct error *why)
{
    (void)state, (void)why;
    return true;
}

static bool files_are_fresh(const struct config *config)
{
    (void)config;
    return true;
}

static bool files_are_known(const struct config *config, struct error *why)
{
    (void)config, (void)why;
    return true;
}

static void *files_watch_start(const struct config *config, const struct kept_speaker *speaker)
{
    (void)config;
    if (speaker->close != NULL)
        speaker->close(speaker->context);
    return NULL;
}

static bool files_watch_stop(void *watch)
{
    (void)watch;
    return true;
}

const struct kept_engine kept_engine_files = {
    .open = files_open,
    .close = files_close,
    .lock = files_lock,
    .put = files_put,
    .remove = files_drop,
    .move = files_move,
    .look = files_look,
    .is_fresh = files_are_fresh,
    .is_known = files_are_known,
    .watch_start = files_watch_start,
    .watch_stop = files_watch_stop,
};
