/* The note, beside the configuration, that a state directory was used, and which ones were before. See inspect.h. */
#include "queue/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"

#define STATE_PLACE_SUFFIX ".state_dir" /* behind the configuration's name, as several may share a folder */

#define MOUNTED "mounted\n" /* the note's second line: a file system was mounted there */

/* Where it is noted. */
struct place {
    char folder[PATH_MAX]; /* the configuration's */
    char name[NAME_MAX + 1];
};

/* Returns false where there is no configuration's file, or none in a folder for such a note: /etc. */
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
    return length < (int)sizeof place->name && strcmp(place->folder, "/etc") != 0;
}

/* What is noted of a state directory. */
enum noted { NOTED_NOTHING, NOTED_USED, NOTED_MOUNTED };

static enum noted read_note(const struct place *place, const char *state_dir)
{
    char *text = files_read(place->folder, place->name, NULL, NULL);
    size_t length = strlen(state_dir);
    enum noted noted = NOTED_NOTHING;
    if (text != NULL && strncmp(text, state_dir, length) == 0 && text[length] == '\n')
        noted = strcmp(text + length + 1, MOUNTED) == 0 ? NOTED_MOUNTED : NOTED_USED;
    free(text);
    return noted;
}

/* Whether a file system is mounted there, or the name leads to another one. */
static bool is_mounted(const char *state_dir)
{
    char folder[PATH_MAX];
    struct stat inner, outer;
    int length = snprintf(folder, sizeof folder, "%s", state_dir);
    return length < (int)sizeof folder && stat(state_dir, &inner) == 0 && stat(dirname(folder), &outer) == 0 &&
           inner.st_dev != outer.st_dev;
}

bool state_place_make(const char *directory, bool *made, struct error *why)
{
    struct stat status;
    char parent[PATH_MAX];
    *made = mkdir(directory, 0700) == 0;
    snprintf(parent, sizeof parent, "%s/..", directory);
    if (*made && !files_sync(parent, why))
        return false; /* its directory entry must survive a power cut too */
    if (!*made && errno != EEXIST) {
        error_set(why,
                  "cannot make the state directory %.300s: %s; make it, for the user as which this runs, or set "
                  "state_dir to another place",
                  directory, strerror(errno));
        return false;
    }
    if (stat(directory, &status) != 0 || !S_ISDIR(status.st_mode)) {
        error_set(why, "the state directory %.300s is no directory", directory);
        return false;
    }
    if (status.st_uid != geteuid()) {
        state_folder_owner_error(directory, status.st_uid, why);
        return false;
    }
    if ((status.st_mode & 077) != 0) {
        state_folder_open_error(directory, why);
        error_prefix(why, "the state directory %.100s: ", directory);
        return false;
    }
    if (access(directory, R_OK | W_OK | X_OK) != 0) {
        error_set(why, "cannot write into the state directory %.300s: %s", directory, strerror(errno));
        return false;
    }
    return true;
}

bool state_place_may_open(const struct config *config, struct error *why)
{
    struct stat status;
    struct place place;
    char database[PATH_MAX];
    if (!find_place(config, &place) ||
        snprintf(database, sizeof database, "%s/queue.db", config->state_dir) >= (int)sizeof database ||
        stat(database, &status) == 0)
        return true;
    bool is_gone = stat(config->state_dir, &status) != 0 && errno == ENOENT;
    enum noted noted = read_note(&place, config->state_dir);
    if (is_gone && noted != NOTED_NOTHING)
        error_set_kind(
            why, ERROR_MISSING,
            "the state directory %.80s is gone: put it back, or remove %.80s/%.60s to give up what was in it",
            config->state_dir, place.folder, place.name);
    else if (!is_gone && noted == NOTED_MOUNTED && !is_mounted(config->state_dir))
        error_set_kind(
            why, ERROR_MISSING,
            "the disk of the state directory %.80s is not mounted: mount it, or remove %.80s/%.60s to give up "
            "what was in it",
            config->state_dir, place.folder, place.name);
    else
        return true;
    return false;
}

/* ---- those that were used before. They stand in a file of their own: a release that does not know it reads the note,
 * and neither trips over them nor writes them away. ---- */

#define BEFORE_SUFFIX ".before" /* behind the note's name */
#define BEFORE_MOST 32          /* of more the oldest are forgotten */

static bool name_before(const struct place *place, char name[static NAME_MAX + 1])
{
    return snprintf(name, NAME_MAX + 1, "%s" BEFORE_SUFFIX, place->name) <= NAME_MAX;
}

static void add_place(struct strings *places, const char *at, size_t length)
{
    for (size_t i = 0; i < places->count; i++) {
        if (strncmp(places->at[i], at, length) == 0 && places->at[i][length] == '\0')
            return;
    }
    char **more =
        at[0] != '/' || places->count == BEFORE_MOST ? NULL : realloc(places->at, (places->count + 1) * sizeof *more);
    if (more == NULL)
        return;
    places->at = more;
    places->at[places->count] = strndup(at, length);
    if (places->at[places->count] != NULL)
        places->count++;
}

/* Adds the one of the note, which is the newest, then those of the other file. */
static void read_places(const struct place *place, struct strings *places)
{
    char name[NAME_MAX + 1];
    char *note = files_read(place->folder, place->name, NULL, NULL);
    char *before = name_before(place, name) ? files_read(place->folder, name, NULL, NULL) : NULL;
    if (note != NULL)
        add_place(places, note, strcspn(note, "\n"));
    for (const char *line = before; line != NULL && *line != '\0'; line += line[0] == '\n') {
        size_t length = strcspn(line, "\n");
        add_place(places, line, length);
        line += length;
    }
    free(before);
    free(note);
}

static bool is_same_place(const char *a, const char *b)
{
    struct stat one, other;
    return strcmp(a, b) == 0 ||
           (stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino);
}

void state_places_before(const struct config *config, struct strings *places)
{
    struct place place;
    size_t kept = 0;
    *places = (struct strings){NULL, 0};
    if (!find_place(config, &place))
        return;
    read_places(&place, places);
    for (size_t i = 0; i < places->count; i++) {
        if (is_same_place(places->at[i], config->state_dir))
            free(places->at[i]);
        else
            places->at[kept++] = places->at[i];
    }
    places->count = kept;
}

/* Returns false when they could not be written. */
static bool note_before(const struct config *config, const struct place *place)
{
    struct error why;
    struct strings places;
    char name[NAME_MAX + 1], *text = NULL;
    size_t length = 0;
    state_places_before(config, &places);
    bool good = places.count == 0;
    FILE *out = good || !name_before(place, name) ? NULL : open_memstream(&text, &length);
    for (size_t i = 0; out != NULL && i < places.count; i++)
        fprintf(out, "%s\n", places.at[i]);
    if (out != NULL && fclose(out) == 0)
        good = files_replace(place->folder, name, text, &why);
    free(text);
    queue_names_free(&places);
    return good;
}

void state_place_note(const struct config *config)
{
    struct error why;
    struct place place;
    char text[PATH_MAX + sizeof MOUNTED];
    if (!find_place(config, &place) || !files_is_own_directory(place.folder))
        return;
    bool mounted = is_mounted(config->state_dir);
    if (read_note(&place, config->state_dir) == (mounted ? NOTED_MOUNTED : NOTED_USED))
        return;
    if (!note_before(config, &place))
        return; /* the note is the only trace of the one before: it stays until that is noted elsewhere */
    if (snprintf(text, sizeof text, "%s\n%s", config->state_dir, mounted ? MOUNTED : "") < (int)sizeof text)
        files_replace(place.folder, place.name, text, &why);
}

/* ---- whose process forwards ---- */

/* In the state directory: the path of the configuration that forwarded last, whose time is the file's; in a second
 * line, where another one did before, its time (Unix time, ms) and path. The version before reads and writes the first.
 */
#define FORWARDER "forward.config"
#define LATELY_MS (60 * INT64_C(60000))

struct forwarded {
    char path[PATH_MAX]; /* of the configuration; "": none */
    int64_t at_ms;
};

/* Reads who forwarded last, and which other configuration did before. */
static void read_forwarders(const char *directory, struct forwarded found[static 2])
{
    char file[PATH_MAX];
    struct stat status;
    found[0] = found[1] = (struct forwarded){.at_ms = 0};
    if (snprintf(file, sizeof file, "%s/" FORWARDER, directory) >= (int)sizeof file || stat(file, &status) != 0)
        return;
    char *text = files_read(directory, FORWARDER, NULL, NULL);
    if (text == NULL)
        return;
    char *second = strchr(text, '\n'), *path = NULL;
    if (second != NULL)
        *second++ = '\0';
    snprintf(found[0].path, PATH_MAX, "%s", text);
    found[0].at_ms = clock_timespec_ms(status.st_mtim);
    found[1].at_ms = second == NULL ? 0 : strtoll(second, &path, 10);
    if (path != NULL && *path == ' ')
        snprintf(found[1].path, PATH_MAX, "%s", path + 1);
    free(text);
}

void state_forwarder_note(const struct config *config)
{
    struct error why;
    struct forwarded before[2];
    char path[PATH_MAX], file[PATH_MAX], text[2 * PATH_MAX + 32];
    if (config->path == NULL || realpath(config->path, path) == NULL ||
        snprintf(file, sizeof file, "%s/" FORWARDER, config->state_dir) >= (int)sizeof file)
        return;
    read_forwarders(config->state_dir, before);
    if (strcmp(before[0].path, path) == 0 && utimensat(AT_FDCWD, file, NULL, 0) == 0)
        return;
    if (before[0].path[0] == '\0' || strcmp(before[0].path, path) == 0)
        snprintf(text, sizeof text, "%s", path);
    else
        snprintf(text, sizeof text, "%s\n%lld %s", path, (long long)before[0].at_ms, before[0].path);
    files_replace(config->state_dir, FORWARDER, text, &why);
}

bool state_forwarder_other(const struct config *config, bool is_claimed, char where[static PATH_MAX])
{
    struct stat status;
    struct forwarded found[2];
    where[0] = '\0';
    if (config->queue != QUEUE_SQLITE || config->path == NULL)
        return false;
    read_forwarders(config->state_dir, found);
    for (size_t i = 0; i < 2 && where[0] == '\0'; i++) {
        int64_t age_ms = clock_unix_ms() - found[i].at_ms;
        bool lately = (i == 0 && is_claimed) || age_ms < LATELY_MS;
        if (found[i].path[0] != '\0' && lately && !is_same_place(found[i].path, config->path) &&
            stat(found[i].path, &status) == 0)
            memcpy(where, found[i].path, sizeof found[i].path);
    }
    return where[0] != '\0';
}
