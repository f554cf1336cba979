/* Lock files: see lock_file.h. */
#include "base/lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/clock.h"

#define LOOK_MS 10 /* between attempts to take a lock */

bool lock_is_current(int fd, const char *path)
{
    struct stat ours, there;
    return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_ino == there.st_ino &&
           ours.st_dev == there.st_dev;
}

void lock_release(int fd)
{
    flock(fd, LOCK_UN);
}

/* Opens the file that is at the path now, creating it if missing. Returns false on failure; *fd is then unchanged. */
static bool open_anew(int *fd, const char *path)
{
    int now = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (now < 0)
        return false;
    if (*fd >= 0)
        close(*fd);
    *fd = now;
    return true;
}

int lock_take(int *fd, const char *path, int how)
{
    if (*fd < 0 && !open_anew(fd, path))
        return errno;
    for (;;) {
        int error = flock(*fd, how) == 0 ? 0 : errno;
        if (error == EINTR)
            continue;
        if ((error != 0 && error != EWOULDBLOCK) || lock_is_current(*fd, path) || !open_anew(fd, path))
            return error;
    }
}

int lock_take_within(int *fd, const char *path, int64_t wait_ms)
{
    int error;
    for (moment deadline = clock_now() + wait_ms;;) {
        error = lock_take(fd, path, LOCK_EX | LOCK_NB);
        if (error != EWOULDBLOCK || clock_now() >= deadline)
            break;
        poll(NULL, 0, LOOK_MS);
    }
    if (error != 0 && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    return error;
}

/* Parses a line of /proc/locks. Returns whether it describes the exclusive lock on this file, and its holder in *pid. A
 * line looks like "3: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF", with the device numbers in hexadecimal. */
static bool is_about(const char *line, const struct stat *file, long *pid)
{
    char wanted[80], *end;
    const char *write = strstr(line, " WRITE ");
    if (write == NULL || strstr(line, " FLOCK ") == NULL)
        return false;
    *pid = strtol(write + strlen(" WRITE "), &end, 10);
    snprintf(wanted, sizeof wanted, " %02x:%02x:%llu ", major(file->st_dev), minor(file->st_dev),
             (unsigned long long)file->st_ino);
    return strncmp(end, wanted, strlen(wanted)) == 0;
}

static bool is_stopped(long pid)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "re");
    size_t length = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    if (file != NULL)
        fclose(file);
    text[length] = '\0';
    const char *name_ends = strrchr(text, ')'); /* the process state is the letter that follows the name */
    return name_ends != NULL && strncmp(name_ends, ") T", 3) == 0;
}

struct lock_holder lock_find_holder(const char *path)
{
    char line[256];
    struct stat file;
    long pid = 0;
    bool found = false;
    FILE *locks = stat(path, &file) == 0 ? fopen("/proc/locks", "re") : NULL;
    while (locks != NULL && !found && fgets(line, sizeof line, locks) != NULL)
        found = is_about(line, &file, &pid);
    if (locks != NULL)
        fclose(locks);
    if (!found || pid <= 0)
        return (struct lock_holder){.pid = 0};
    return (struct lock_holder){.pid = (pid_t)pid, .stopped = is_stopped(pid)};
}
