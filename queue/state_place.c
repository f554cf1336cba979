/* That a state directory was used: see state_place.h. */
#include "queue/state_place.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/files.h"

/* Where it is noted. */
struct place {
    char folder[PATH_MAX]; /* the configuration's */
    char name[NAME_MAX + 1];
};

/* Returns false where there is no configuration's file, or none in a folder for such a note: /etc, the state directory.
 */
static bool find_place(const struct config *config, struct place *place)
{
    if (config->queue != QUEUE_SQLITE || config->state_dir == NULL || config->path == NULL)
        return false;
    int length = snprintf(place->folder, sizeof place->folder, "%s", config->path);
    char *slash = strrchr(place->folder, '/');
    if (length >= (int)sizeof place->folder || slash == NULL || slash == place->folder)
        return false;
    *slash = '\0';
    length = snprintf(place->name, sizeof place->name, "%s" STATE_PLACE_SUFFIX, slash + 1);
    return length < (int)sizeof place->name && strcmp(place->folder, "/etc") != 0 &&
           strcmp(place->folder, config->state_dir) != 0;
}

/* Whether this state directory was noted. */
static bool is_known(const struct place *place, const char *state_dir)
{
    char *text = files_read(place->folder, place->name, NULL, NULL);
    size_t length = strlen(state_dir);
    bool known = text != NULL && strncmp(text, state_dir, length) == 0 && strcmp(text + length, "\n") == 0;
    free(text);
    return known;
}

bool state_place_may_open(const struct config *config, struct error *why)
{
    struct stat status;
    struct place place;
    if (!find_place(config, &place) || stat(config->state_dir, &status) == 0 || errno != ENOENT ||
        !is_known(&place, config->state_dir))
        return true;
    error_set_kind(why, ERROR_MISSING,
                   "the state directory %.80s is gone: put it back, or remove %.80s/%.60s to give up what was in it",
                   config->state_dir, place.folder, place.name);
    return false;
}

void state_place_note(const struct config *config)
{
    struct error why;
    struct place place;
    char text[PATH_MAX + 1];
    if (!find_place(config, &place) || !files_is_own_directory(place.folder) || is_known(&place, config->state_dir))
        return;
    if (snprintf(text, sizeof text, "%s\n", config->state_dir) < (int)sizeof text)
        files_replace(place.folder, place.name, text, &why);
}
