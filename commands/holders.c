/* Which processes have the queue open (session_print_holders of session.h): those with a descriptor of a file in the
 * state directory, as /proc tells it. */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/terminal.h"
#include "commands/session.h"

#define PATH_ROOM 4096

/* Whether a link of /proc/PID/fd leads to something directly in the directory. */
static bool leads_into(const char *link, const char *directory)
{
    char target[PATH_ROOM];
    size_t length = strlen(directory);
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n < 0)
        return false;
    target[n] = '\0';
    return strncmp(target, directory, length) == 0 && target[length] == '/';
}

static bool has_it_open(const char *process, const char *directory)
{
    char path[PATH_ROOM];
    bool has = false;
    snprintf(path, sizeof path, "/proc/%.20s/fd", process);
    DIR *descriptors = opendir(path);
    const struct dirent *entry;
    while (descriptors != NULL && !has && (entry = readdir(descriptors)) != NULL) {
        snprintf(path, sizeof path, "/proc/%.20s/fd/%.20s", process, entry->d_name);
        has = leads_into(path, directory);
    }
    if (descriptors != NULL)
        closedir(descriptors);
    return has;
}

static void print_process(const char *process, FILE *out)
{
    char path[64], words[256];
    snprintf(path, sizeof path, "/proc/%.20s/cmdline", process);
    FILE *file = fopen(path, "re");
    size_t n = file == NULL ? 0 : fread(words, 1, sizeof words, file);
    if (file != NULL)
        fclose(file);
    for (size_t i = 0; i < n; i++)
        words[i] = words[i] == '\0' ? ' ' : words[i];
    fprintf(out, "  process %s: ", process);
    plain_write(out, words, n);
    fputc('\n', out);
}

size_t session_print_holders(const struct config *config, FILE *out)
{
    size_t found = 0;
    char own[32];
    char *directory = realpath(config->state_dir, NULL);
    DIR *processes = directory == NULL ? NULL : opendir("/proc");
    const struct dirent *entry;
    snprintf(own, sizeof own, "%ld", (long)getpid());
    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0]) || strcmp(entry->d_name, own) == 0 ||
            !has_it_open(entry->d_name, directory))
            continue;
        print_process(entry->d_name, out);
        found++;
    }
    if (processes != NULL)
        closedir(processes);
    free(directory);
    return found;
}
