/* The directory STATE_DIR/closeapi/SOURCE: made, locked, moved to another name. */
#include "base/files.h"
#include "closeapi/closeapi.h"
#include "kept/kept.h"
#include "kept/keys.h"
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

bool closeapi_is_stopped(const struct config *config, const struct source *source, struct error *why)
{
    char path[FILES_PATH];
    int length = snprintf(path, sizeof path, "%s/closeapi/%s/reconcile.lock", config->state_dir, source->name);
    return length < (int)sizeof path && kept_is_stopped(path, why);
}

struct kept *closeapi_lock(const struct config *config, const char *directory, const char *name, int64_t wait_ms,
                           struct error *why)
{
    struct kept *kept = kept_open(config, why);
    if (kept != NULL && kept_lock(kept, directory, name, wait_ms, why))
        return kept;
    kept_close(kept);
    return NULL;
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

bool closeapi_note_pause(struct kept *kept, const char *directory, const char *id, bool paused, struct error *why)
{
    char name[128];
    if (!pause_file_name(name, id, why))
        return false;
    return paused ? kept_put(kept, directory, name, "by = closecrm.fcgi pause\n", why)
                  : kept_remove(kept, directory, name, why);
}

bool closeapi_paused_by_us(const char *directory, const char *id)
{
    char path[FILES_PATH], name[128];
    if (!pause_file_name(name, id, NULL))
        return false;
    snprintf(path, sizeof path, "%.3900s/%s", directory, name);
    return access(path, F_OK) == 0;
}

/* ---- moving it to another name ---- */

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
    if (!kept_keys_read(config, &held, NULL))
        return false;
    for (size_t i = 0; i < held.count; i++)
        found = found || strcmp(held.at[i].source, from) == 0;
    keyring_free(&held);
    return found;
}

static bool list_failed(const char *path, struct error *why)
{
    error_set(why, "cannot read %.300s: %s", path, strerror(errno));
    return false;
}

static bool move_file(struct kept *kept, const char *from_directory, const char *to_directory, const char *name,
                      const char *from, struct closeapi_moved *moved, struct error *why)
{
    char words[600];
    bool taken;
    if (!kept_move(kept, from_directory, to_directory, name, &taken, why))
        return false;
    moved->files += !taken;
    snprintf(words, sizeof words, "closeapi/%.100s/%.200s stays: the new source has one of its own", from, name);
    if (taken)
        moved->stays(moved->context, words);
    return true;
}

static bool move_files(struct kept *kept, const char *from_directory, const char *to_directory, const char *from,
                       struct closeapi_moved *moved, struct error *why)
{
    bool good = true;
    DIR *directory = opendir(from_directory);
    if (directory == NULL)
        return list_failed(from_directory, why);
    errno = 0; /* else the end of the folder and an error look alike */
    for (const struct dirent *entry; good && (entry = readdir(directory)) != NULL; errno = 0) {
        if (is_file_moved(entry->d_name))
            good = move_file(kept, from_directory, to_directory, entry->d_name, from, moved, why);
    }
    if (good && errno != 0)
        good = list_failed(from_directory, why);
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
    _Static_assert(2 * LOCKS <= KEPT_LOCKS, "all of them at once");
    directory_of_name(old_path, config, from);
    if (count_moved_files(old_path) == 0)
        return true;
    struct kept *kept = kept_open(config, why);
    bool good = kept != NULL && closeapi_directory(config, to, new_path, why);
    for (size_t i = 0; good && i < (size_t)2 * LOCKS; i++)
        good = kept_lock(kept, directory[i / LOCKS], names[i % LOCKS], LOCK_WAIT_MS, why);
    good = good && move_files(kept, old_path, new_path, from, moved, why);
    kept_close(kept);
    return good;
}

static bool move_keys(const struct config *config, const char *from, const struct source *to,
                      struct closeapi_moved *moved, struct error *why)
{
    struct keyring held;
    bool good = true;
    if (!kept_keys_read(config, &held, why))
        return false;
    for (size_t i = 0; good && i < held.count; i++) {
        char words[400];
        bool taken = false;
        if (strcmp(held.at[i].source, from) != 0)
            continue;
        good = kept_key_rename(config, &held.at[i], to->name, &taken, why);
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
