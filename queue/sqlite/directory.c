/* The state directory and its small files: see directory.h. */
#include "queue/sqlite/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

void directory_path(char out[static STATE_PATH], const char *directory, const char *name)
{
    snprintf(out, STATE_PATH, "%s/%s", directory, name);
}

bool directory_prepare(const char *directory, struct why *why)
{
    struct stat status;
    char parent[STATE_PATH];
    bool made = mkdir(directory, 0700) == 0;
    directory_path(parent, directory, "..");
    if (made && !directory_sync(parent, why))
        return false; /* its own name must survive a power cut too */
    if (!made && errno != EEXIST) {
        why_set(why,
                "cannot make the state directory %.300s: %s; make it, for the user as which this runs, or set "
                "state_dir to another place",
                directory, strerror(errno));
        return false;
    }
    if (stat(directory, &status) != 0 || !S_ISDIR(status.st_mode)) {
        why_set(why, "the state directory %.300s is no directory", directory);
        return false;
    }
    if (status.st_uid != geteuid()) {
        why_set(why, "the state directory %.200s belongs to user %u, and this runs as user %u: chown -R %u '%.200s'",
                directory, (unsigned)status.st_uid, (unsigned)geteuid(), (unsigned)geteuid(), directory);
        return false;
    }
    if ((status.st_mode & 077) != 0) {
        why_set(why, "others can get into the state directory, where events wait: chmod 700 '%.300s'", directory);
        return false;
    }
    if (access(directory, R_OK | W_OK | X_OK) != 0) {
        why_set(why, "cannot write into the state directory %.300s: %s", directory, strerror(errno));
        return false;
    }
    return true;
}

int directory_open(const char *directory, const char *name, struct why *why)
{
    char path[STATE_PATH];
    directory_path(path, directory, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        why_set(why, "cannot open %.300s: %s", path, strerror(errno));
    return fd;
}

bool directory_sync(const char *directory, struct why *why)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (!good)
        why_set(why, "cannot sync %.300s: %s", directory, strerror(errno));
    if (fd >= 0)
        close(fd);
    return good;
}

void damage_mark(const char *directory)
{
    int fd = directory_open(directory, "damaged", NULL);
    if (fd >= 0)
        close(fd);
}

bool damage_is_marked(const char *directory)
{
    char path[STATE_PATH];
    directory_path(path, directory, "damaged");
    return access(path, F_OK) == 0;
}

void damage_unmark(const char *directory)
{
    char path[STATE_PATH];
    directory_path(path, directory, "damaged");
    unlink(path);
}

int wake_open(const char *directory, struct why *why)
{
    char path[STATE_PATH];
    directory_path(path, directory, "wake");
    if (mkfifo(path, 0600) != 0 && errno != EEXIST) {
        why_set(why, "cannot make %.300s: %s", path, strerror(errno));
        return -1;
    }
    /* For writing too: else poll would return at once for ever after the first writer has closed it. */
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        why_set(why, "cannot open %.300s: %s", path, strerror(errno));
    return fd;
}

static void send_byte(const char *directory, int *fd, const char *byte)
{
    char path[STATE_PATH];
    if (*fd < 0) {
        directory_path(path, directory, "wake");
        *fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC); /* ENXIO, ENOENT: nobody is there */
    }
    if (*fd >= 0 && write(*fd, byte, 1) < 0 && errno != EAGAIN) { /* EAGAIN: it is full of wakes */
        close(*fd);
        *fd = -1;
    }
}

void wake_send(const char *directory, int *fd)
{
    send_byte(directory, fd, "");
}

void wake_ask(const char *directory, int *fd)
{
    static const char asks[] = {WAKE_ASKS};
    send_byte(directory, fd, asks);
}
