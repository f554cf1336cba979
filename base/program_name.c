/* What this program is called: see program_name.h. */
#include "base/program_name.h"

#include "base/escape.h"

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where a shell looks, whatever the environment of a web server says. */
#define USUAL_FOLDERS "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define CONFIGURATION_SIZE 240 /* of " --config FILE" */
#define NAME_STARTS "closecrm" /* what else runs, a test or a loader, is nothing to type */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* Whether the name leads to this program in one of the folders. */
static bool is_found(const char *path, const char *folders)
{
    struct stat wanted, found;
    char candidate[PATH_MAX];
    if (stat(path, &wanted) != 0)
        return false;
    for (const char *rest = folders; *rest != '\0'; rest += strspn(rest, ":")) {
        size_t length = strcspn(rest, ":");
        int written = snprintf(candidate, sizeof candidate, "%.*s/%s", (int)length, rest, last_part(path));
        if (length > 0 && written < (int)sizeof candidate && stat(candidate, &found) == 0 &&
            found.st_dev == wanted.st_dev && found.st_ino == wanted.st_ino)
            return true;
        rest += length;
    }
    return false;
}

void program_name_of(const char *path, const char *folders, char out[static PROGRAM_NAME_SIZE])
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+";
    const char *name = last_part(path);
    size_t length = strlen(path);
    bool is_plain = strspn(path, plain) == length;
    if (strncmp(name, NAME_STARTS, strlen(NAME_STARTS)) != 0 || name[strspn(name, plain)] != '\0' || strlen(name) > 40)
        name = PROGRAM_NAME;
    else if (length + sizeof "''" <= PROGRAM_NAME_SIZE && strchr(path, '\'') == NULL && !is_found(path, folders)) {
        snprintf(out, PROGRAM_NAME_SIZE, is_plain ? "%s" : "'%s'", path);
        return;
    }
    snprintf(out, PROGRAM_NAME_SIZE, "%s", name);
}

/* ---- of this process ---- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool is_found_out;
static char called[PROGRAM_NAME_SIZE + CONFIGURATION_SIZE], alone[PROGRAM_NAME_SIZE];
static char configuration[CONFIGURATION_SIZE]; /* " --config FILE"; "": none */

void program_path_of(char *link)
{
    static const char replaced[] = " (deleted)";
    size_t length = strlen(link), end = sizeof replaced - 1;
    if (length > end && strcmp(link + length - end, replaced) == 0 && access(link, F_OK) != 0)
        link[length - end] = '\0';
}

bool program_path(char path[static PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = '\0';
    program_path_of(path);
    return length > 0;
}

/* What runs, or the bundle's launcher, under which /proc/self/exe is the loader; "": it cannot be known. */
static void find_path(char path[static PATH_MAX])
{
    const char *launcher = getenv("CLOSECRM_LAUNCHER");
    if (launcher != NULL)
        snprintf(path, PATH_MAX, "%s", launcher);
    else
        program_path(path);
}

/* Behind the name, which is quoted or has no blank, in the place of what stands there. */
static void put_configuration(void)
{
    size_t length = called[0] == '\'' ? strcspn(called + 1, "'") + 2 : strcspn(called, " ");
    snprintf(called + length, sizeof called - length, "%s", configuration);
}

static void find_names(void)
{
    char path[PATH_MAX], folders[PATH_MAX + sizeof USUAL_FOLDERS];
    const char *search = getenv("PATH");
    find_path(path);
    snprintf(folders, sizeof folders, "%s:%.*s", USUAL_FOLDERS, PATH_MAX - 1, search == NULL ? "" : search);
    program_name_of(path, folders, called);
    program_name_of(last_part(path), "", alone);
    put_configuration();
    is_found_out = true;
}

/* Whether the file lies in a folder above the loader: the launcher found it there, and will again. */
static bool is_of_launcher(const char *file)
{
    char loader[PATH_MAX];
    const char *slash = strrchr(file, '/');
    ssize_t length = getenv("CLOSECRM_LAUNCHER") == NULL ? -1 : readlink("/proc/self/exe", loader, sizeof loader - 1);
    return slash != NULL && length > slash - file && strncmp(loader, file, (size_t)(slash - file) + 1) == 0;
}

/* The names are found out when they are asked for: a CGI request never does. */
void program_name_use_configuration(const char *path)
{
    char *word = path[0] == '\0' || is_of_launcher(path) ? NULL : escape_shell(path);
    bool fits = word != NULL && strlen(word) + sizeof " --config " <= sizeof configuration;
    snprintf(configuration, sizeof configuration, "%s%s", fits ? " --config " : "", fits ? word : "");
    if (is_found_out)
        put_configuration();
    free(word);
}

const char *program_name(void)
{
    pthread_once(&once, find_names);
    return called;
}

const char *program_name_alone(void)
{
    pthread_once(&once, find_names);
    return alone;
}

/* ---- a crontab's line ---- */

/* A % would end the command: behind a backslash it does not. */
static void put_crontab_word(FILE *out, const char *before, const char *path)
{
    char *word = escape_shell(path);
    fputs(before, out);
    for (const char *c = word; c != NULL && *c != '\0'; c++)
        fprintf(out, "%s%c", *c == '%' ? "\\" : "", *c);
    free(word);
}

char *program_name_crontab(void)
{
    char path[PATH_MAX], *line = NULL;
    size_t length = 0;
    const char *named = getenv("CLOSECRM_CONFIG");
    char *file = named == NULL || named[0] == '\0' ? NULL : realpath(named, NULL);
    find_path(path);
    FILE *out = path[0] == '\0' ? NULL : open_memstream(&line, &length);
    if (out != NULL) {
        put_crontab_word(out, "* * * * * ", path);
        if (named != NULL && named[0] != '\0' && !is_of_launcher(file != NULL ? file : named))
            put_crontab_word(out, " --config ", file != NULL ? file : named);
        fputs(" cron", out);
        fclose(out);
    }
    free(file);
    return line;
}

/* Takes the path away again where program_name stands in the text. */
static void hide_path(char *text)
{
    const char *name = program_name(), *without = program_name_alone();
    size_t length = strlen(name), less = strlen(without);
    for (char *at = text; less < length && (at = strstr(at, name)) != NULL; at += less) {
        memmove(at + less, at + length, strlen(at + length) + 1);
        for (size_t i = 0; i < less; i++)
            at[i] = without[i];
    }
}

static const char *put_name(const char *text, const char *name, char *out, size_t size)
{
    static const char before_command[] = PROGRAM_NAME " ";
    size_t length = 0, whole = strlen(name);
    while (*text != '\0' && length + 1 < size) {
        if (strncmp(text, name, whole) == 0 && length + whole < size) { /* it stands there already */
            memcpy(out + length, name, whole);
            length += whole;
            text += whole;
            continue;
        }
        bool is_name =
            strncmp(text, before_command, sizeof before_command - 1) == 0 && (length == 0 || out[length - 1] != '/');
        if (is_name && length + strlen(name) + 1 < size) {
            length += (size_t)snprintf(out + length, size - length, "%s", name);
            text += sizeof PROGRAM_NAME - 1;
        } else {
            out[length++] = *text++;
        }
    }
    out[length] = '\0';
    return out;
}

const char *program_name_put(const char *text, char *out, size_t size)
{
    return put_name(text, program_name(), out, size);
}

const char *program_name_put_alone(const char *text, char *out, size_t size)
{
    put_name(text, program_name_alone(), out, size);
    hide_path(out);
    return out;
}
