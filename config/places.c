/* Where the configuration file is searched, the check that it is not below a web server's document root, and what is
 * said of a state directory. */
#include "config/internal.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/escape.h"
#include "base/program_name.h"
#include "config/config.h"

#define IN_HOME "closecrm/closecrm.conf"
#define STANDARD "/etc/closecrm.conf"

extern char **environ;

/* The home directory of this process's user, from getpwuid; the caller frees it. *home NULL: none. Returns false with
 * the reason when the lookup fails. */
static bool find_home(char **home, struct error *why)
{
    struct passwd entry, *user = NULL;
    char room[4096];
    *home = NULL;
    int error = getpwuid_r(geteuid(), &entry, room, sizeof room, &user);
    if (user != NULL && entry.pw_dir[0] == '/') {
        *home = strdup(entry.pw_dir);
        error = *home == NULL ? ENOMEM : 0;
    }
    /* The errno values by which C libraries report an unknown user. */
    if (error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM)
        return true;
    error_set(
        why,
        "the home of user %lu, where the configuration may be, cannot be told: %s; CLOSECRM_CONFIG may name a file",
        (unsigned long)geteuid(), strerror(error));
    return false;
}

/* ---- finding ---- */

enum place { PLACE_THERE, PLACE_NOT, PLACE_UNKNOWN };

/* Examines a path. An error other than "missing" stops the search: the intended file may be there. */
static enum place look_at(const char *path, struct error *why)
{
    struct stat status;
    if (stat(path, &status) == 0)
        return PLACE_THERE;
    if (errno == ENOENT || errno == ENOTDIR)
        return PLACE_NOT;
    int error = errno;
    char user[OWNER_NAME];
    error_set(why, "%.300s: user %s, as which this runs, cannot look there: %s; CLOSECRM_CONFIG may name another place",
              path, owner_name(geteuid(), user), strerror(error));
    return PLACE_UNKNOWN;
}

static bool take_place(const char *place, char **path, struct error *why)
{
    *path = strdup(place);
    if (*path == NULL)
        error_set(why, "%.300s: could not be read: out of memory", place);
    return *path != NULL;
}

bool places_find(const char *named, const char *home, const char *standard, char **path, struct error *why)
{
    *path = NULL;
    bool is_named = named != NULL && named[0] != '\0';
    char in_home[PATH_MAX] = "";
    if (is_named && value_is_address(named, true)) {
        error_set(why, "--config, or CLOSECRM_CONFIG, must name a file, " NO_ADDRESS);
        return false;
    }
    if (home != NULL)
        snprintf(in_home, sizeof in_home, "%s/" IN_HOME, home);
    const char *const places[] = {is_named ? named : in_home, is_named ? "" : standard};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        enum place place = places[i][0] == '\0' ? PLACE_NOT : look_at(places[i], why);
        if (place == PLACE_UNKNOWN)
            return false;
        if (place == PLACE_THERE)
            return take_place(places[i], path, why);
    }
    if (is_named)
        error_set(why,
                  "--config, or CLOSECRM_CONFIG, names %.300s, but there is no such file: write it, or name no file",
                  named);
    return !is_named;
}

void places_nowhere(const char *named, const char *home, struct error *why)
{
    char in_home[PATH_MAX] = "";
    if (home != NULL)
        snprintf(in_home, sizeof in_home, "%.100s/" IN_HOME " and ", home);
    error_set_kind(why, ERROR_MISSING,
                   "there is no configuration: %s" STANDARD " do not exist, CLOSECRM_CONFIG %s, and no "
                   "CLOSECRM_DATA_PLANE_URL is set. Write the file, for example:\n"
                   "data_plane_url = https://DATA_PLANE\n"
                   "write_key = KEY_OF_THE_RUDDERSTACK_SOURCE\n"
                   "signature_key = KEY_OF_THE_CLOSE_SUBSCRIPTION",
                   in_home, named == NULL ? "names no other file" : "is set but empty");
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/* What is advised names the file, too, for whoever types it has another environment: unless it is the one that is found
 * without, and nobody's own is found before it. A look into the user data base would load its libraries for each CGI
 * request. */
static void name_in_commands(const char *named)
{
    char in_home[PATH_MAX];
    const char *home = getenv("HOME");
    snprintf(in_home, sizeof in_home, "%s/" IN_HOME, home == NULL ? "" : home);
    char *whole =
        is_same_file(named, STANDARD) && (home == NULL || access(in_home, F_OK) != 0) ? NULL : path_absolute(named);
    program_name_use_configuration(whole == NULL ? "" : whole);
    free(whole);
}

/* Finds the file as places_find does, or as it was found when what is in memory was read. */
static bool find_file(const char *named, char **home, char **path, struct error *why)
{
    size_t length;
    bool is_named = named != NULL && named[0] != '\0';
    *path = as_read_find(AS_READ_PLACE, &length);
    if (*path != NULL && (*path)[0] != '\0')
        return true;
    bool known = *path != NULL;
    free(*path);
    *path = NULL;
    if (!is_named && !find_home(home, why))
        return false;
    if (known)
        return true;
    if (!places_find(named, *home, STANDARD, path, why))
        return false;
    as_read_note(AS_READ_PLACE, *path == NULL ? "" : *path, *path == NULL ? 0 : strlen(*path));
    return true;
}

struct config *config_load_all(struct strings *faults, struct error *why)
{
    struct config *config = NULL;
    *faults = (struct strings){0};
    char *path = NULL, *home = NULL;
    const char *named = getenv("CLOSECRM_CONFIG");
    if (named != NULL && named[0] != '\0')
        name_in_commands(named);
    if (find_file(named, &home, &path, why)) {
        if (path == NULL && !environment_has_keys(environ))
            places_nowhere(named, home, why);
        else
            config = config_read_all(path, environ, faults, why);
    }
    free(path);
    free(home);
    return config;
}

struct config *config_load(struct error *why)
{
    struct strings faults;
    struct config *config = config_load_all(&faults, why);
    strings_free(&faults);
    return config;
}

/* ---- defaults ---- */

/* Whether a folder holds what this program keeps, or cannot be looked into: then it may. */
static bool holds_state(const char *folder)
{
    static const char *const names[] = {"queue.db", "keys", "closeapi"};
    struct stat status;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (stat(path, &status) == 0 || (errno != ENOENT && errno != ENOTDIR))
            return true;
    }
    return false;
}

char *places_standard(const char *file, const char *name, const char *etc, const char *var)
{
    char *path = NULL;
    int folder = (int)(strrchr(file, '/') - file);
    if (asprintf(&path, "%.*s/%s", folder, file, name) < 0)
        return NULL;
    if ((size_t)folder != strlen(etc) || memcmp(file, etc, (size_t)folder) != 0 || holds_state(path))
        return path;
    free(path);
    return strdup(var);
}

const char *config_folder(char out[static CONFIG_FOLDER])
{
    struct error why;
    char *path = NULL, *home = NULL;
    const char *named = getenv("CLOSECRM_CONFIG");
    bool is_named = named != NULL && named[0] != '\0';
    out[0] = '\0';
    if (is_named) {
        snprintf(out, CONFIG_FOLDER, "%s", named);
    } else if (find_home(&home, &why) && places_find(NULL, home, STANDARD, &path, &why)) {
        if (path != NULL || home != NULL)
            snprintf(out, CONFIG_FOLDER, "%s%s", path != NULL ? path : home, path != NULL ? "" : "/" IN_HOME);
    }
    free(path);
    free(home);
    char *slash = strrchr(out, '/');
    if (slash == NULL)
        return NULL;
    *(slash == out ? slash + 1 : slash) = '\0';
    return out;
}

/* ---- document root ---- */

bool config_looks_shown(const char *path)
{
    static const char *const names[] = {"/public_html/", "/htdocs/", "/httpdocs/", "/wwwroot/",
                                        "/webroot/",     "/html/",   "/public/",   "/cgi-bin/"};
    char whole[PATH_MAX + 1];
    snprintf(whole, sizeof whole, "%s/", path);
    if (strncmp(whole, "/var/www/", 9) == 0)
        return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strstr(whole, names[i]) != NULL)
            return true;
    }
    return false;
}

/* Whether path is root or below it; both are resolved. */
static bool is_below(const char *path, const char *root)
{
    size_t length = strlen(root);
    if (strncmp(path, root, length) != 0)
        return false;
    return path[length] == '/' || path[length] == '\0' || root[length - 1] == '/';
}

/* Whether a path, or its nearest existing parent directory, lies below root. */
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

/* Whether the directory of the path lies below root: a symbolic link in the document root is served, too. */
static bool name_is_below(const char *path, const char *root)
{
    char folder[PATH_MAX], real[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    return realpath(dirname(folder), real) != NULL && is_below(real, root);
}

/* Whether the web server may serve a file: its target or its name lies below root; where is set to that path. A missing
 * file is not served. */
static bool is_shown(const char *path, const char *root, char where[static PATH_MAX])
{
    char real[PATH_MAX];
    bool resolved = realpath(path, real) != NULL;
    if (!resolved && (errno == ENOENT || errno == ENOTDIR))
        return false;
    snprintf(where, PATH_MAX, "%s", path);
    if (name_is_below(path, root))
        return true;
    if (!resolved)
        return false;
    snprintf(where, PATH_MAX, "%s", real);
    return is_below(real, root);
}

/* Returns the command that moves the file to its usual path, if that is free and outside the root and the file is no
 * symbolic link, which might break. Else NULL; the caller frees it. */
static char *move_command(const char *path, const char *root, const char *home)
{
    char target[PATH_MAX];
    struct stat status;
    if (home == NULL || snprintf(target, sizeof target, "%s/" IN_HOME, home) >= (int)sizeof target)
        return NULL;
    if (would_be_below(target, root) || lstat(target, &status) == 0)
        return NULL;
    if (lstat(path, &status) != 0 || S_ISLNK(status.st_mode))
        return NULL;
    char *command = NULL;
    char *from = escape_shell(path), *to = escape_shell(target), *folder = escape_shell(dirname(target));
    if (from == NULL || to == NULL || folder == NULL ||
        asprintf(&command, "mkdir -p %s && mv %s %s", folder, from, to) < 0)
        command = NULL;
    free(from);
    free(to);
    free(folder);
    return command;
}

#define SHOWN "where the web server shows it to everybody"

static void why_inside(const char *path, const char *root, const char *home, struct error *why)
{
    char *command = move_command(path, root, home);
    if (command != NULL)
        error_set(why, "%s: lies in the document root, " SHOWN "; run: %s, and unset CLOSECRM_CONFIG", path, command);
    else
        error_set(why,
                  "%s: lies in the document root %s, " SHOWN
                  "; move it to a folder outside and name it in CLOSECRM_CONFIG",
                  path, root);
    free(command);
}

bool places_outside(const struct config *config, const char *document_root, const char *home, struct error *why)
{
    char root[PATH_MAX], where[PATH_MAX];
    /* A root that does not exist here (chroot, container) proves nothing. */
    if (document_root == NULL || document_root[0] == '\0' || realpath(document_root, root) == NULL)
        return true;
    if (config->path != NULL && is_shown(config->path, root, where)) {
        why_inside(where, root, home, why);
        return false;
    }
    if (config_state_dir(config) != NULL && is_shown(config->state_dir, root, where)) {
        error_set(why,
                  "the state directory %.200s lies in the document root, " SHOWN "; set state_dir to a folder outside, "
                  "and move there what is in it",
                  where);
        return false;
    }
    for (size_t i = 0; i < config->settings; i++) {
        const struct setting *setting = &config->setting[i];
        if (setting->file == NULL || !is_shown(setting->file, root, where))
            continue;
        char at[WHERE_SIZE];
        error_set(why,
                  "%s: %.200s lies in the document root, " SHOWN "; move it to a folder outside and name that here",
                  setting_where(config, setting, at), where);
        return false;
    }
    return true;
}

bool config_would_show(const char *place, const char *document_root)
{
    char root[PATH_MAX];
    return document_root != NULL && document_root[0] != '\0' && realpath(document_root, root) != NULL &&
           would_be_below(place, root);
}

bool config_outside(const struct config *config, const char *document_root, struct error *why)
{
    char *home = NULL;
    struct error no_home = {0};
    if (places_outside(config, document_root, NULL, why))
        return true;
    find_home(&home, &no_home); /* for the advice, which is just shorter without */
    bool outside = places_outside(config, document_root, home, why);
    free(home);
    return outside;
}

/* ---- Where the certificates are that others' are checked with: see config.h. libcurl knows only the place of the
 * system that it was built on, and the bundle runs on others. ---- */

const char *config_certificates(const struct config *config)
{
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Ubuntu, Arch, Alpine */
        "/etc/pki/tls/certs/ca-bundle.crt",                  /* RHEL and derivatives */
        "/etc/ssl/ca-bundle.pem",                            /* SUSE */
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* RHEL, where the older name is gone */
        "/var/lib/ca-certificates/ca-bundle.pem",            /* SUSE, likewise */
        "/etc/ssl/cert.pem",
    };
    if (config != NULL && config->ca_file != NULL)
        return config->ca_file;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (access(places[i], R_OK) == 0)
            return places[i];
    }
    return NULL;
}

/* ---- the state directory ---- */

#define ADVICE_SIZE 200

static bool has(const char *path, const char *name)
{
    char file[PATH_MAX];
    return snprintf(file, sizeof file, "%s/%s", path, name) < (int)sizeof file && access(file, F_OK) == 0;
}

/* Whether it is the name of a file that this program makes also in a folder which is not accepted yet, or not any more:
 * where its state directory was moved away, and an empty folder put in its place, it notes that it cannot go on. */
static bool is_own_name(const char *name)
{
    static const char *const begins[] = {"attempts.", "child.lock", "counters.",    "cron-told.",
                                         "cron.last", "health.",    "last-errors.", "no_room",
                                         "recent.",   "replaced",   "transforming."};
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        if (strncmp(name, begins[i], strlen(begins[i])) == 0)
            return true;
    }
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

bool state_folder_is_own(const char *path)
{
    DIR *directory = opendir(path);
    bool all_own = directory != NULL;
    errno = 0; /* else the end of the folder and an error look alike */
    for (const struct dirent *entry; all_own && (entry = readdir(directory)) != NULL; errno = 0)
        all_own = is_own_name(entry->d_name);
    all_own = all_own && errno == 0;
    if (directory != NULL)
        closedir(directory);
    return all_own || has(path, "queue.db") || has(path, "open.lock") || has(path, "closeapi");
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
