/* Where the configuration file is looked for, and where it must not be: below a web server's document root. */
#include "config/internal.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IN_HOME "closecrm/closecrm.conf"
#define STANDARD "/etc/closecrm.conf"

extern char **environ;

char *places_home(void)
{
    struct passwd entry, *found = NULL;
    char room[4096];
    if (getpwuid_r(geteuid(), &entry, room, sizeof room, &found) != 0 || found == NULL || entry.pw_dir[0] != '/')
        return NULL;
    return strdup(entry.pw_dir);
}

/* ---- finding ---- */

enum place { PLACE_THERE, PLACE_NOT, PLACE_UNKNOWN };

/* A place that cannot be looked at may hold the file that was meant: to go on with the next would be a guess. */
static enum place look_at(const char *path, struct why *why)
{
    struct stat status;
    if (stat(path, &status) == 0)
        return PLACE_THERE;
    if (errno == ENOENT || errno == ENOTDIR)
        return PLACE_NOT;
    int error = errno;
    struct passwd *user = getpwuid(geteuid()); /* before threads start: see config_load */
    why_set(why, "%.300s: user %s, as which this runs, cannot look there: %s; CLOSECRM_CONFIG may name another place",
            path, user == NULL ? "without a name" : user->pw_name, strerror(error));
    return PLACE_UNKNOWN;
}

static bool found(const char *path, char **out, struct why *why)
{
    *out = strdup(path);
    if (*out == NULL)
        why_set(why, "%.300s: could not be read: out of memory", path);
    return *out != NULL;
}

bool places_find(const char *named, const char *home, const char *standard, char **path, struct why *why)
{
    *path = NULL;
    bool is_named = named != NULL && named[0] != '\0';
    char in_home[PATH_MAX] = "";
    if (home != NULL)
        snprintf(in_home, sizeof in_home, "%s/" IN_HOME, home);
    const char *const places[] = {is_named ? named : in_home, is_named ? "" : standard};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        enum place place = places[i][0] == '\0' ? PLACE_NOT : look_at(places[i], why);
        if (place == PLACE_UNKNOWN)
            return false;
        if (place == PLACE_THERE)
            return found(places[i], path, why);
    }
    if (is_named)
        why_set(why, "CLOSECRM_CONFIG names %.300s, but there is no such file: write it, or unset CLOSECRM_CONFIG",
                named);
    return !is_named;
}

static void why_nowhere(const char *home, struct why *why)
{
    char in_home[PATH_MAX] = "";
    if (home != NULL)
        snprintf(in_home, sizeof in_home, "%.100s/" IN_HOME " and ", home);
    why_set(why,
            "there is no configuration: %s" STANDARD " do not exist, CLOSECRM_CONFIG names no other file, and no "
            "CLOSECRM_DATA_PLANE_URL is set. Write the file, for example:\n"
            "data_plane_url = https://DATA_PLANE\n"
            "write_key = KEY_OF_THE_RUDDERSTACK_SOURCE\n"
            "signature_key = KEY_OF_THE_CLOSE_SUBSCRIPTION",
            in_home);
}

struct config *config_load(struct why *why)
{
    struct config *config = NULL;
    char *path = NULL;
    char *home = places_home();
    if (places_find(getenv("CLOSECRM_CONFIG"), home, STANDARD, &path, why)) {
        if (path == NULL && !environment_has_keys(environ))
            why_nowhere(home, why);
        else
            config = config_read(path, environ, why);
    }
    free(path);
    free(home);
    return config;
}

/* ---- document root ---- */

/* Whether path is root or lies below it; both resolved. */
static bool is_below(const char *path, const char *root)
{
    size_t length = strlen(root);
    if (strncmp(path, root, length) != 0)
        return false;
    return path[length] == '/' || path[length] == '\0' || root[length - 1] == '/';
}

/* Whether a place, or the nearest folder above it that exists, lies below root. */
static bool would_be_below(const char *place, const char *root)
{
    char path[PATH_MAX], real[PATH_MAX];
    snprintf(path, sizeof path, "%s", place);
    while (realpath(path, real) == NULL) {
        if (strcmp(path, "/") == 0)
            return false;
        const char *above = dirname(path);
        memmove(path, above, strlen(above) + 1);
    }
    return is_below(real, root);
}

/* A link in the document root is served like a file there, so the folder in which the name stands counts too. */
static bool name_is_below(const char *path, const char *root)
{
    char folder[PATH_MAX], real[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    return realpath(dirname(folder), real) != NULL && is_below(real, root);
}

/* The command that moves the file to its usual place: where that is outside and free. Else NULL; the caller frees. */
static char *move_command(const char *path, const char *root, const char *home)
{
    char target[PATH_MAX];
    struct stat status;
    if (home == NULL || snprintf(target, sizeof target, "%s/" IN_HOME, home) >= (int)sizeof target)
        return NULL;
    if (would_be_below(target, root) || lstat(target, &status) == 0)
        return NULL;
    char *command = NULL;
    char *from = shell_quote(path), *to = shell_quote(target);
    char *folder = shell_quote(dirname(target));
    if (from == NULL || to == NULL || folder == NULL ||
        asprintf(&command, "mkdir -p %s && mv %s %s", folder, from, to) < 0)
        command = NULL;
    free(from);
    free(to);
    free(folder);
    return command;
}

static void why_inside(const char *path, const char *root, const char *home, struct why *why)
{
    char *command = move_command(path, root, home);
    if (command != NULL)
        why_set(why,
                "%s: lies in the document root, where the web server shows it to everybody; run: %s, and unset "
                "CLOSECRM_CONFIG",
                path, command);
    else
        why_set(why,
                "%s: lies in the document root %s, where the web server shows it to everybody; move it to a folder "
                "outside and name it in CLOSECRM_CONFIG",
                path, root);
    free(command);
}

bool places_outside(const struct config *config, const char *document_root, const char *home, struct why *why)
{
    char root[PATH_MAX], real[PATH_MAX];
    if (config->path == NULL || document_root == NULL || document_root[0] == '\0')
        return true;
    /* A root that is not there, or not seen from here (chroot, container), says nothing. */
    if (realpath(document_root, root) == NULL)
        return true;
    if (realpath(config->path, real) == NULL) {
        if (errno == ENOENT || errno == ENOTDIR)
            return true; /* removed since it was read: nothing to show */
        why_set(why, "%.300s: cannot be looked at: %s", config->path, strerror(errno));
        return false;
    }
    if (name_is_below(config->path, root))
        why_inside(config->path, root, home, why);
    else if (is_below(real, root))
        why_inside(real, root, home, why);
    else
        return true;
    return false;
}

bool config_outside(const struct config *config, const char *document_root, struct why *why)
{
    char *home = places_home();
    bool outside = places_outside(config, document_root, home, why);
    free(home);
    return outside;
}
