/* How far the other machines were heard: see heard.h. */
#include "kept/heard.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"

#define NOTE "heard"
#define NOTE_SIZE 100 /* with a fixed length, for it is written in place */

static void path_of(const char *state_dir, const char *name, char out[static FILES_PATH])
{
    snprintf(out, FILES_PATH, "%.3500s/" HEARD_FOLDER "/%.255s", state_dir, name);
}

bool heard_read(const char *state_dir, struct heard *heard)
{
    char path[FILES_PATH], text[NOTE_SIZE + 1] = "";
    struct stat status;
    *heard = (struct heard){.version = 0};
    path_of(state_dir, NOTE, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool good = read(fd, text, NOTE_SIZE) == NOTE_SIZE && fstat(fd, &status) == 0 &&
                files_value(text, "origin", heard->origin, sizeof heard->origin);
    close(fd);
    if (!good)
        return false;
    heard->version = files_number(text, "version", 0);
    heard->at_ms = clock_timespec_ms(status.st_mtim);
    return true;
}

void heard_write(const char *state_dir, const struct heard *heard)
{
    char path[FILES_PATH], text[NOTE_SIZE + 1];
    snprintf(text, sizeof text, "origin = %s\nversion = %020lld\n", heard->origin, (long long)heard->version);
    size_t length = strlen(text);
    memset(text + length, '\n', NOTE_SIZE - length);
    path_of(state_dir, NOTE, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (pwrite(fd, text, NOTE_SIZE, 0) != NOTE_SIZE)
        unlink(path);
    close(fd);
}

static void remove_all(const char *state_dir)
{
    char path[FILES_PATH];
    path_of(state_dir, "", path);
    DIR *listing = opendir(path);
    for (const struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        path_of(state_dir, entry->d_name, path);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    if (listing != NULL)
        closedir(listing);
}

void heard_begin(const char *state_dir, struct heard *heard, const char *origin)
{
    char folder[FILES_PATH];
    heard_read(state_dir, heard);
    if (strcmp(heard->origin, origin) == 0)
        return;
    files_make_directory(folder, state_dir, HEARD_FOLDER, NULL);
    remove_all(state_dir);
    *heard = (struct heard){.version = 0};
    snprintf(heard->origin, sizeof heard->origin, "%s", origin);
}
