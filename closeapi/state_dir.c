/* The directory STATE_DIR/closeapi/SOURCE: made, locked, moved to another name. */
#include "base/files.h"
#include "closeapi/closeapi.h"
#include "config/keyring.h"
#include "queue/inspect.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_WAIT_MS 10000

bool closeapi_directory(const struct config *config, const struct source *source, char out[static 4096],
                        struct error *why)
{
    char name[200];
    if (config->state_dir == NULL) {
        error_set(why, "there is no state_dir, where keys and progress are kept: set it in the configuration");
        return false;
    }
    char parent[FILES_PATH];
    snprintf(name, sizeof name, "closeapi/%s", source->name);
    int length = snprintf(parent, sizeof parent, "%s", config->state_dir);
    char *slash = strrchr(parent, '/');
    if (length >= (int)sizeof parent || slash == NULL || slash == parent) {
        error_set(why, "state_dir %.200s cannot be used", config->state_dir);
        return false;
    }
    *slash = '\0';
    char made[FILES_PATH];
    return files_make_directory(made, parent, slash + 1, why) &&
           files_make_directory(out, config->state_dir, name, why);
}

/* Writes which process holds the lock, and what to do. */
static void describe_lock_holder(const char *path, struct error *why)
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
    char path[FILES_PATH];
    int length = snprintf(path, sizeof path, "%s/closeapi/%s/reconcile.lock", config->state_dir, source->name);
    if (length >= (int)sizeof path || !lock_find_holder(path).stopped)
        return false;
    describe_lock_holder(path, why);
    return true;
}

int closeapi_lock(const char *directory, const char *name, int64_t wait_ms, struct error *why)
{
    char path[FILES_PATH];
    snprintf(path, sizeof path, "%.3900s/%s", directory, name);
    int fd = -1, error = lock_take_within(&fd, path, wait_ms);
    if (error == EWOULDBLOCK)
        describe_lock_holder(path, why);
    else if (error != 0)
        error_set(why, "cannot lock %.300s: %s", path, strerror(error));
    return fd;
}

static bool pause_file_name(char out[static 128], const char *id, struct error *why)
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
    if (!pause_file_name(name, id, why))
        return false;
    return paused ? files_replace(directory, name, "by = closecrm.fcgi pause\n", why)
                  : files_remove(directory, name, why);
}

bool closeapi_paused_by_us(const char *directory, const char *id)
{
    char path[FILES_PATH], name[128];
    if (!pause_file_name(name, id, NULL))
        return false;
    snprintf(path, sizeof path, "%.3900s/%s", directory, name);
    return access(path, F_OK) == 0;
}

/* ---- moving it to another name. A file gets its second name before it loses the first, so that it is there at any
 * moment; it never takes the place of another. ---- */

static void directory_of_name(char out[static FILES_PATH], const struct config *config, const char *from)
{
    snprintf(out, FILES_PATH, "%.3800s/closeapi/%.200s", config->state_dir, from);
}

/* Locks, half-written files and temporary files are left behind. */
static bool is_file_moved(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (name[0] == '.' || strncmp(name, "spool.", 6) == 0)
        return false;
    return dot == NULL || (strcmp(dot, ".lock") != 0 && strcmp(dot, ".new") != 0);
}

static size_t count_moved_files(const char *path)
{
    size_t count = 0;
    DIR *directory = opendir(path);
    for (const struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;)
        count += is_file_moved(entry->d_name);
    if (directory != NULL)
        closedir(directory);
    return count;
}

bool closeapi_has_any(const struct config *config, const char *from)
{
    char path[FILES_PATH];
    struct keyring held;
    bool found = false;
    if (config->state_dir == NULL)
        return false;
    directory_of_name(path, config, from);
    if (count_moved_files(path) > 0)
        return true;
    if (!keyring_read(config->state_dir, &held, NULL))
        return false;
    for (size_t i = 0; i < held.count; i++)
        found = found || strcmp(held.at[i].source, from) == 0;
    keyring_free(&held);
    return found;
}

static bool move_failed(const char *path, struct error *why)
{
    error_set(why, "cannot move %.300s: %s", path, strerror(errno));
    return false;
}

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

static bool move_file(const char *from_directory, const char *to_directory, const char *name, const char *from,
                      struct closeapi_moved *moved, struct error *why)
{
    char old_path[FILES_PATH + 300], new_path[FILES_PATH + 300], words[600];
    snprintf(old_path, sizeof old_path, "%s/%s", from_directory, name);
    snprintf(new_path, sizeof new_path, "%s/%s", to_directory, name);
    errno = 0;
    if (!link_or_rename(old_path, new_path)) {
        struct stat status;
        if (lstat(new_path, &status) != 0)
            return move_failed(old_path, why);
        snprintf(words, sizeof words, "closeapi/%.100s/%.200s stays: the new source has one of its own", from, name);
        moved->stays(moved->context, words);
        return true;
    }
    moved->files++;
    return (unlink(old_path) == 0 || errno == ENOENT) || move_failed(old_path, why);
}

static bool move_files(const char *from_directory, const char *to_directory, const char *from,
                       struct closeapi_moved *moved, struct error *why)
{
    bool good = true;
    DIR *directory = opendir(from_directory);
    if (directory == NULL)
        return move_failed(from_directory, why);
    for (const struct dirent *entry; good && (entry = readdir(directory)) != NULL;) {
        if (is_file_moved(entry->d_name))
            good = move_file(from_directory, to_directory, entry->d_name, from, moved, why);
    }
    closedir(directory);
    return good && files_sync(to_directory, why) && files_sync(from_directory, why);
}

/* Under all locks of both names, so that no run and no subscribe is half-way. */
static bool move_directory(const struct config *config, const char *from, const struct source *to,
                           struct closeapi_moved *moved, struct error *why)
{
    static const char *const names[] = {"subscribe.lock", "reconcile.lock", "backfill.lock"};
    enum { LOCKS = sizeof names / sizeof *names };
    char old_path[FILES_PATH], new_path[FILES_PATH];
    const char *directory[] = {old_path, new_path};
    int lock[2 * LOCKS];
    size_t locked = 0;
    directory_of_name(old_path, config, from);
    if (count_moved_files(old_path) == 0)
        return true;
    bool good = closeapi_directory(config, to, new_path, why);
    for (; good && locked < (size_t)2 * LOCKS; locked += good) {
        lock[locked] = closeapi_lock(directory[locked / LOCKS], names[locked % LOCKS], LOCK_WAIT_MS, why);
        good = lock[locked] >= 0;
    }
    good = good && move_files(old_path, new_path, from, moved, why);
    while (locked > 0)
        close(lock[--locked]);
    return good;
}

static bool move_keys(const struct config *config, const char *from, const struct source *to,
                      struct closeapi_moved *moved, struct error *why)
{
    struct keyring held;
    bool good = true;
    if (!keyring_read(config->state_dir, &held, why))
        return false;
    for (size_t i = 0; good && i < held.count; i++) {
        char words[400];
        bool taken = false;
        if (strcmp(held.at[i].source, from) != 0)
            continue;
        good = keyring_rename(config->state_dir, &held.at[i], to->name, &taken, why);
        moved->keys += good && !taken;
        snprintf(words, sizeof words, "the key of subscription %s stays: the new source has another one of that name",
                 held.at[i].subscription);
        if (taken)
            moved->stays(moved->context, words);
    }
    keyring_free(&held);
    return good;
}

/* A loss of events that is noted for the old name is noted for the new one. */
static bool move_loss(const char *state_dir, const char *from, const char *to, struct error *why)
{
    struct loss loss;
    bool any;
    if (!loss_read(state_dir, from, &loss, &any, why))
        return false;
    return !any || (loss_note(state_dir, to, &loss, why) && loss_clear(state_dir, from, why));
}

bool closeapi_move(const struct config *config, const char *from, const struct source *to, struct closeapi_moved *moved,
                   struct error *why)
{
    if (config->state_dir == NULL)
        return true;
    return move_keys(config, from, to, moved, why) && signed_rename(config->state_dir, from, to->name, why) &&
           move_loss(config->state_dir, from, to->name, why) && move_directory(config, from, to, moved, why);
}
