/* That a state directory was used: see state_place.h. */
#include "queue/state_place.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/files.h"

/* The configuration's folder. Returns false where there is none, or none for such a note: /etc, the state directory. */
static bool find_folder(const struct config *config, char out[static PATH_MAX])
{
    if (config->queue != QUEUE_SQLITE || config->state_dir == NULL || config->path == NULL)
        return false;
    int length = snprintf(out, PATH_MAX, "%s", config->path);
    char *slash = strrchr(out, '/');
    if (length >= PATH_MAX || slash == NULL || slash == out)
        return false;
    *slash = '\0';
    return strcmp(out, "/etc") != 0 && strcmp(out, config->state_dir) != 0;
}

/* Whether this state directory was noted. */
static bool is_known(const char *folder, const char *state_dir)
{
    char *text = files_read(folder, STATE_PLACE_FILE, NULL, NULL);
    size_t length = strlen(state_dir);
    bool known = text != NULL && strncmp(text, state_dir, length) == 0 && strcmp(text + length, "\n") == 0;
    free(text);
    return known;
}

bool state_place_may_open(const struct config *config, struct error *why)
{
    struct stat status;
    char folder[PATH_MAX];
    if (!find_folder(config, folder) || stat(config->state_dir, &status) == 0 || errno != ENOENT ||
        !is_known(folder, config->state_dir))
        return true;
    error_set_kind(
        why, ERROR_MISSING,
        "the state directory %.120s is gone: put it back (mount its disk, undo its renaming), and nothing is "
        "lost; only if what was in it shall be given up, remove %.120s/" STATE_PLACE_FILE ", and a new one is made",
        config->state_dir, folder);
    return false;
}

void state_place_note(const struct config *config)
{
    struct error why;
    char folder[PATH_MAX], text[PATH_MAX + 1];
    if (!find_folder(config, folder) || !files_is_own_directory(folder) || is_known(folder, config->state_dir))
        return;
    if (snprintf(text, sizeof text, "%s\n", config->state_dir) < (int)sizeof text)
        files_replace(folder, STATE_PLACE_FILE, text, &why);
}
