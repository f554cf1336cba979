/* The small files of a backup: see backup.h. Listed by folder, so that no other files of the state directory get into
 * one: the status page's secret, locks, counters. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "queue/backup.h"

#define NAME_MOST 400 /* bytes of a name within the state directory */
#define CLOSE_SIDE "closeapi"

static const char *const folders[] = {"keys", "used", "signed", "loss"};
#define FOLDERS (sizeof folders / sizeof *folders)

static const char alone[] = "delivered"; /* a file in no folder */

/* Excludes locks, incomplete files and temporary ones. */
static bool is_kept(const char *name)
{
    static const char *const ends[] = {".lock", ".new"};
    size_t length = strlen(name);
    if (length == 0 || length > 255 || name[0] == '.' || strncmp(name, "spool.", 6) == 0 || strchr(name, '/') != NULL)
        return false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (length >= end && strcmp(name + length - end, ends[i]) == 0)
            return false;
    }
    return true;
}

bool backup_file_is_good(const char *name)
{
    if (strcmp(name, alone) == 0)
        return true;
    const char *slash = strchr(name, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - name);
    for (size_t i = 0; i < FOLDERS && slash != NULL; i++) {
        if (strlen(folders[i]) == length && memcmp(name, folders[i], length) == 0)
            return is_kept(slash + 1);
    }
    if (slash == NULL || length != sizeof CLOSE_SIDE - 1 || memcmp(name, CLOSE_SIDE, length) != 0)
        return false;
    const char *second = strchr(slash + 1, '/');
    return second != NULL && second != slash + 1 && slash[1] != '.' && is_kept(second + 1) && strlen(name) < NAME_MOST;
}

bool backup_files_add(struct backup_files *files, const char *name, const void *bytes, size_t length)
{
    struct backup_file *more = realloc(files->at, (files->count + 1) * sizeof *more);
    if (more == NULL)
        return false;
    files->at = more;
    struct backup_file *file = &more[files->count];
    *file = (struct backup_file){strdup(name), malloc(length + 1), length};
    if (file->name == NULL || file->bytes == NULL) {
        free(file->name);
        free(file->bytes);
        return false;
    }
    if (length > 0)
        memcpy(file->bytes, bytes, length);
    file->bytes[length] = '\0';
    files->count++;
    return true;
}

void backup_files_free(struct backup_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        explicit_bzero(files->at[i].bytes, files->at[i].length);
        free(files->at[i].bytes);
        free(files->at[i].name);
    }
    free(files->at);
    *files = (struct backup_files){NULL, 0};
}

static bool report_backup_file(const char *what, const char *path, struct error *why)
{
    error_set(why, "cannot %s %.300s: %s", what, path, strerror(errno));
    return false;
}

/* Adds one file; one that was removed meanwhile is skipped. */
static bool gather_file(const char *state_dir, const char *name, struct backup_files *files, struct error *why)
{
    bool missing;
    char *text = files_read(state_dir, name, &missing, why);
    if (text == NULL)
        return missing;
    bool good = backup_files_add(files, name, text, strlen(text));
    if (!good)
        error_set(why, "out of memory");
    files_free(text);
    return good;
}

/* Adds the files of a folder; deeper: those of the folders in it. */
static bool gather_folder(const char *state_dir, const char *folder, bool deeper, struct backup_files *files,
                          struct error *why)
{
    char path[FILES_PATH], name[NAME_MOST + 300];
    bool good = true;
    snprintf(path, sizeof path, "%.3500s/%.400s", state_dir, folder);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return errno == ENOENT || report_backup_file("read", path, why);
    for (const struct dirent *entry; good && (entry = readdir(directory)) != NULL;) {
        snprintf(name, sizeof name, "%.300s/%.255s", folder, entry->d_name);
        if (deeper && entry->d_name[0] != '.')
            good = gather_folder(state_dir, name, false, files, why);
        else if (!deeper && backup_file_is_good(name))
            good = gather_file(state_dir, name, files, why);
    }
    closedir(directory);
    return good;
}

bool backup_files_gather(const char *state_dir, struct backup_files *files, struct error *why)
{
    *files = (struct backup_files){NULL, 0};
    bool good = gather_file(state_dir, alone, files, why);
    for (size_t i = 0; i < FOLDERS && good; i++)
        good = gather_folder(state_dir, folders[i], false, files, why);
    good = good && gather_folder(state_dir, CLOSE_SIDE, true, files, why);
    if (!good)
        backup_files_free(files);
    return good;
}

bool backup_file_put(const char *state_dir, const struct backup_file *file, bool *there, struct error *why)
{
    char folder[NAME_MOST], path[FILES_PATH];
    *there = false;
    if (!backup_file_is_good(file->name)) {
        error_set(why, "the backup holds a file %.100s, which is none of a state directory", file->name);
        return false;
    }
    snprintf(path, sizeof path, "%.3500s/%.400s", state_dir, file->name);
    *there = access(path, F_OK) == 0;
    if (*there)
        return true;
    snprintf(folder, sizeof folder, "%s", file->name);
    char *slash = strrchr(folder, '/');
    if (slash == NULL)
        return files_replace(state_dir, file->name, file->bytes, why);
    *slash = '\0';
    return files_make_directory(path, state_dir, folder, why) && files_replace(path, slash + 1, file->bytes, why);
}
