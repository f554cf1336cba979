/* Lock files: see lock_file.h. */
#include "watch/lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

bool lock_stands(int fd, const char *path)
{
    struct stat ours, there;
    return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_ino == there.st_ino &&
           ours.st_dev == there.st_dev;
}

void lock_release(int fd)
{
    flock(fd, LOCK_UN);
}

/* Opens the file that stands at the path now. Returns false when there is none and none can be made; *fd stays then. */
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
        if ((error != 0 && error != EWOULDBLOCK) || lock_stands(*fd, path) || !open_anew(fd, path))
            return error;
    }
}
