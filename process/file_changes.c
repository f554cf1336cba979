/* Compares files with their remembered attributes, which works on network file systems too: see file_changes.h. */
#include "process/file_changes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct file_state {
    char *path;
    struct stat before; /* as remembered */
    struct stat last;   /* as seen last */
};

struct file_changes {
    int64_t settle_ms;
    moment since; /* of the last change seen */
    size_t count;
    struct file_state file[];
};

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mode == b->st_mode &&
           a->st_uid == b->st_uid && a->st_gid == b->st_gid && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

struct file_changes *file_changes_new(const char *const *paths, size_t count, int64_t settle_ms)
{
    struct file_changes *changes = calloc(1, sizeof *changes + count * sizeof(struct file_state));
    if (changes == NULL)
        return NULL;
    changes->settle_ms = settle_ms;
    changes->since = clock_now();
    for (size_t i = 0; i < count; i++) {
        if (paths[i] == NULL)
            continue;
        struct file_state *file = &changes->file[changes->count];
        file->path = strdup(paths[i]);
        if (file->path == NULL) {
            file_changes_free(changes);
            return NULL;
        }
        changes->count++;
        if (stat(file->path, &file->before) != 0)
            memset(&file->before, 0, sizeof file->before); /* differs from any file: its coming is a change */
        file->last = file->before;
    }
    return changes;
}

bool file_changes_look(struct file_changes *changes, moment now)
{
    bool differs = false;
    for (size_t i = 0; i < changes->count; i++) {
        struct file_state *file = &changes->file[i];
        struct stat seen;
        if (stat(file->path, &seen) != 0)
            memset(&seen, 0, sizeof seen);
        if (!same_file(&seen, &file->last)) {
            file->last = seen;
            changes->since = now;
        }
        differs |= seen.st_nlink > 0 && !same_file(&seen, &file->before);
    }
    if (!differs || now - changes->since < changes->settle_ms)
        return false;
    for (size_t i = 0; i < changes->count; i++)
        changes->file[i].before = changes->file[i].last;
    return true;
}

void file_changes_free(struct file_changes *changes)
{
    if (changes == NULL)
        return;
    for (size_t i = 0; i < changes->count; i++)
        free(changes->file[i].path);
    free(changes);
}
