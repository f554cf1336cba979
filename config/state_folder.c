/* What is said of a state directory: see state_folder.h. */
#include "config/state_folder.h"

#include "base/owner.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ADVICE_SIZE 200

static bool has(const char *path, const char *name)
{
    char file[PATH_MAX];
    return snprintf(file, sizeof file, "%s/%s", path, name) < (int)sizeof file && access(file, F_OK) == 0;
}

bool state_folder_is_own(const char *path)
{
    DIR *directory = opendir(path);
    bool is_empty = directory != NULL;
    for (const struct dirent *entry; is_empty && (entry = readdir(directory)) != NULL;)
        is_empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    if (directory != NULL)
        closedir(directory);
    return is_empty || has(path, "queue.db") || has(path, "open.lock") || has(path, "closeapi");
}

/* "name a folder of its own ..."; NULL where the folder itself may be changed. */
static const char *advise_another(const char *path, char out[static ADVICE_SIZE])
{
    size_t length = strlen(path);
    if (state_folder_is_own(path))
        return NULL;
    while (length > 0 && path[length - 1] == '/')
        length--;
    const char *parent = length == 0 ? "/var/lib" : path;
    if (length > 100)
        snprintf(out, ADVICE_SIZE, "name a folder of its own in state_dir");
    else
        snprintf(out, ADVICE_SIZE, "name a folder of its own, such as state_dir = %.*s/closecrm-state",
                 length == 0 ? (int)strlen(parent) : (int)length, parent);
    return out;
}

void state_folder_owner_error(const char *path, uid_t owner, struct error *why)
{
    char another[ADVICE_SIZE];
    owner_error("the state directory", path, owner, advise_another(path, another), why);
}

void state_folder_open_error(const char *path, struct error *why)
{
    char another[ADVICE_SIZE];
    if (advise_another(path, another) == NULL)
        error_set(why, "others can get into it, where events wait: chmod 700 '%.300s'", path);
    else
        error_set(why, "others can get into it, where events wait, and there is more in it than this program's: %s",
                  another);
}
