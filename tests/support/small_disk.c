/* Mounting and filling. */
#include "tests/support/small_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/temporary.h"

bool small_disk_mount(const char *path, const char *size)
{
    char options[128];
    struct user user = user_of_children();
    snprintf(options, sizeof options, "size=%s,mode=0700,uid=%u,gid=%u", size, (unsigned)user.uid, (unsigned)user.gid);
    if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("tmpfs", path, "tmpfs", 0, options) == 0)
        return true;
    printf("(skipped: no disk can be mounted here: %s) ", geteuid() == 0 ? strerror(errno) : "not root");
    return false;
}

void small_disk_fill(const char *path, const char *name)
{
    static const char block[4096] = {1};
    char file[PATH_SIZE];
    path_join(file, path, name);
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (!check(fd >= 0, "%s can be made", file))
        return;
    while (write(fd, block, sizeof block) == (ssize_t)sizeof block)
        ;
    check(errno == ENOSPC, "%s fills the disk", file);
    close(fd);
}

void small_disk_unmount(const char *path)
{
    check(umount2(path, MNT_DETACH) == 0, "%s is unmounted", path);
}
