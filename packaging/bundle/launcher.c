/* closecrm.cgi of the bundle: finds the private folder, which holds the program with all its libraries, and executes
 * the program by the loader that stands beside it, so that nothing depends on the host's C library. Linked statically.
 * It must get by without a shell, without .htaccess and without an environment, for suexec takes that away. */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PRIVATE "closecrm"
#define PROGRAM "program-" CLOSECRM_VERSION /* a folder a version, so that this file's replacement is the upgrade */
#define LOADER "ld-linux-x86-64.so.2"
#define ARGUMENTS_OURS 6 /* before those that are passed on, see execute */

extern char **environ;

/* The program's folder, as in a path: of several parts. */
struct place {
    char private[PATH_MAX]; /* holds the configuration */
    char program[PATH_MAX]; /* holds program, loader, libraries */
};

/* Puts two or three parts together. Returns false when they are too long. */
static bool join(char out[static PATH_MAX], const char *folder, const char *name)
{
    int length = snprintf(out, PATH_MAX, "%s/%s", folder, name);
    return length > 0 && length < PATH_MAX;
}

/* Nobody else may have put it there: another user's folder may have the name we look for (/home/closecrm). */
static bool is_ours(const char *folder)
{
    struct stat status;
    if (stat(folder, &status) != 0 || !S_ISDIR(status.st_mode))
        return false;
    return (status.st_uid == geteuid() || status.st_uid == 0) && (status.st_mode & 022) == 0;
}

/* Looks for the private folder in this one. */
static bool is_in(const char *folder, struct place *place)
{
    return folder[0] == '/' && join(place->private, folder, PRIVATE) && is_ours(place->private) &&
           join(place->program, place->private, PROGRAM) && is_ours(place->program);
}

/* The home in /etc/passwd, read by hand: the C library's way to the user data base loads the host's libraries, which a
 * static program cannot. Returns false where the user does not stand there. */
static bool home_of_user(char out[static PATH_MAX])
{
    char line[PATH_MAX];
    bool found = false;
    FILE *file = fopen("/etc/passwd", "re");
    if (file == NULL)
        return false;
    while (!found && fgets(line, sizeof line, file) != NULL) {
        char *field[6] = {NULL}, *rest = line;
        for (size_t i = 0; i < 6; i++)
            field[i] = strsep(&rest, ":");
        char *end = NULL;
        if (rest == NULL || strtoul(field[2], &end, 10) != geteuid() || end == field[2] || *end != '\0')
            continue;
        snprintf(out, PATH_MAX, "%s", field[5]);
        found = true;
    }
    fclose(file);
    return found;
}

/* This file's own path; without /proc as it was called, which suexec does in its folder. */
static bool own_path(const char *called, char out[static PATH_MAX])
{
    return realpath("/proc/self/exe", out) != NULL || (called != NULL && realpath(called, out) != NULL);
}

/* The home comes first, then the folders above this file, from the nearest on: hosts lay homes out in many ways. */
static bool find(const char *self, struct place *place)
{
    char folder[PATH_MAX];
    const char *home = getenv("HOME");
    if (home_of_user(folder) && is_in(folder, place))
        return true;
    if (home != NULL && is_in(home, place))
        return true;
    snprintf(folder, sizeof folder, "%s", self);
    for (char *slash; (slash = strrchr(folder, '/')) != NULL && slash != folder;) {
        *slash = '\0';
        if (is_in(folder, place))
            return true;
    }
    return false;
}

/* Where somebody looks: the error log, and under CGI the answer, too. */
static int fail(const char *reason)
{
    fprintf(stderr, "closecrm.cgi: %s\n", reason);
    if (getenv("GATEWAY_INTERFACE") != NULL)
        printf("Status: 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 300\r\n\r\n"
               "{\"error\": \"%s\"}\n",
               reason);
    return 127;
}

/* What the host sets for its own programs must not reach our loader and libraries. */
static void clean_environment(void)
{
    for (size_t i = 0; environ[i] != NULL;) {
        char name[64];
        int length = (int)strcspn(environ[i], "=");
        if (strncmp(environ[i], "LD_", 3) == 0 && snprintf(name, sizeof name, "%.*s", length, environ[i]) > 0 &&
            (size_t)length < sizeof name && unsetenv(name) == 0)
            i = 0;
        else
            i++;
    }
}

/* What the program cannot find out by itself: under the loader /proc/self/exe is the loader. */
static bool tell_program(const char *self, const struct place *place)
{
    char config[PATH_MAX];
    const char *named = getenv("CLOSECRM_CONFIG");
    if (setenv("CLOSECRM_LAUNCHER", self, 1) != 0 || setenv("OPENSSL_CONF", "/dev/null", 1) != 0)
        return false;
    if ((named != NULL && named[0] != '\0') || !join(config, place->private, "closecrm.conf"))
        return true;
    /* Where it is not there, the program's own words about it are better. */
    return access(config, F_OK) != 0 || setenv("CLOSECRM_CONFIG", config, 1) == 0;
}

/* The whole command: loader, its options, program, what we were given. NULL: no memory. */
static char **command(char *loader, char *libraries, char *self, char *program, int argc, char **argv)
{
    static char no_cache[] = "--inhibit-cache", path[] = "--library-path", name[] = "--argv0";
    char *const ours[ARGUMENTS_OURS] = {loader, no_cache, path, libraries, name, self};
    char **all = calloc((size_t)argc + ARGUMENTS_OURS + 2, sizeof *all);
    if (all == NULL)
        return NULL;
    memcpy(all, ours, sizeof ours);
    all[ARGUMENTS_OURS] = program;
    for (int i = 1; i < argc; i++)
        all[ARGUMENTS_OURS + i] = argv[i];
    return all;
}

/* Returns only when that fails. */
static int execute(char *self, const struct place *place, int argc, char **argv)
{
    char loader[PATH_MAX], libraries[PATH_MAX], program[PATH_MAX];
    if (!join(loader, place->program, LOADER) || !join(libraries, place->program, "lib") ||
        !join(program, place->program, "closecrm.fcgi"))
        return fail("the path of the folder closecrm is too long");
    if (strpbrk(libraries, ":;$") != NULL)
        return fail("the path of the folder closecrm has one of the characters : ; $ in it, which the loader does not "
                    "take: move it");
    if (access(loader, X_OK) != 0)
        chmod(loader, 0700); /* an upload by FTP loses the permission */
    char **all = command(loader, libraries, self, program, argc, argv);
    if (all == NULL)
        return fail("no memory");
    execv(loader, all);
    bool forbidden = errno == EACCES;
    free(all);
    if (forbidden)
        return fail("the file " LOADER " in the folder closecrm/" PROGRAM " may not be executed: permissions 700");
    return fail("the folder closecrm/" PROGRAM " is not whole: upload it again");
}

int main(int argc, char **argv)
{
    char self[PATH_MAX];
    struct place place;
    if (!own_path(argc > 0 ? argv[0] : NULL, self))
        return fail("its own path cannot be told: /proc is not there");
    if (!find(self, &place))
        return fail("the folder closecrm/" PROGRAM " was not found, neither in the home directory nor above this "
                    "program: upload it there; it must belong to your user, and others must not be able to write "
                    "into it (permissions 700)");
    clean_environment();
    if (!tell_program(self, &place))
        return fail("no memory");
    return execute(self, &place, argc, argv);
}
