/* Moving the Close side of a source that was renamed: see move.h. A file gets its second name before it loses its first
 * one, so that nothing is gone at any moment, and never the name of one that is there. */
#include "closeapi/move.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "closeapi/closeapi.h"
#include "config/keyring.h"
#include "config/signed.h"
#include "queue/loss.h"

#define LOCK_WAIT_MS 10000

static void old_directory(char out[static SMALL_PATH], const struct config *config, const char *from)
{
    snprintf(out, SMALL_PATH, "%.3800s/closeapi/%.200s", config->state_dir, from);
}

/* Locks, half-written files and temporary ones stay behind. */
static bool is_kept(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (name[0] == '.' || strncmp(name, "spool.", 6) == 0)
        return false;
    return dot == NULL || (strcmp(dot, ".lock") != 0 && strcmp(dot, ".new") != 0);
}

static size_t count_kept(const char *path)
{
    size_t count = 0;
    DIR *directory = opendir(path);
    for (const struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;)
        count += is_kept(entry->d_name);
    if (directory != NULL)
        closedir(directory);
    return count;
}

bool closeapi_has_any(const struct config *config, const char *from)
{
    char path[SMALL_PATH];
    struct keyring held;
    bool found = false;
    if (config->state_dir == NULL)
        return false;
    old_directory(path, config, from);
    if (count_kept(path) > 0)
        return true;
    if (!keyring_read(config->state_dir, &held, NULL))
        return false;
    for (size_t i = 0; i < held.count; i++)
        found = found || strcmp(held.at[i].source, from) == 0;
    keyring_free(&held);
    return found;
}

static bool cannot(const char *path, struct error *why)
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

/* Some file systems have no hard links: there a look before must do, under the locks. */
static bool give_second_name(const char *from, const char *to)
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
    char old_path[SMALL_PATH + 300], new_path[SMALL_PATH + 300], words[600];
    snprintf(old_path, sizeof old_path, "%s/%s", from_directory, name);
    snprintf(new_path, sizeof new_path, "%s/%s", to_directory, name);
    errno = 0;
    if (!give_second_name(old_path, new_path)) {
        struct stat status;
        if (lstat(new_path, &status) != 0)
            return cannot(old_path, why);
        snprintf(words, sizeof words, "closeapi/%.100s/%.200s stays: the new source has one of its own", from, name);
        moved->stays(moved->context, words);
        return true;
    }
    moved->files++;
    return (unlink(old_path) == 0 || errno == ENOENT) || cannot(old_path, why);
}

static bool move_files(const char *from_directory, const char *to_directory, const char *from,
                       struct closeapi_moved *moved, struct error *why)
{
    bool good = true;
    DIR *directory = opendir(from_directory);
    if (directory == NULL)
        return cannot(from_directory, why);
    for (const struct dirent *entry; good && (entry = readdir(directory)) != NULL;) {
        if (is_kept(entry->d_name))
            good = move_file(from_directory, to_directory, entry->d_name, from, moved, why);
    }
    closedir(directory);
    return good && files_sync(to_directory, why) && files_sync(from_directory, why);
}

/* Under the locks of both, so that no reconciling and no subscribing is half-way. */
static bool move_directory(const struct config *config, const char *from, const struct source *to,
                           struct closeapi_moved *moved, struct error *why)
{
    static const char *const names[] = {"subscribe.lock", "reconcile.lock", "backfill.lock"};
    enum { LOCKS = sizeof names / sizeof *names };
    char old_path[SMALL_PATH], new_path[SMALL_PATH];
    const char *directory[] = {old_path, new_path};
    int lock[2 * LOCKS];
    size_t locked = 0;
    old_directory(old_path, config, from);
    if (count_kept(old_path) == 0)
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

/* A stretch of time in which events may be gone is the new source's now. */
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
