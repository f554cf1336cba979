/* Preloaded in the guest: the state directory seems to be on a file system where the queue uses a rollback journal. */
#include <linux/magic.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

int statfs(const char *path, struct statfs *out)
{
    int status = (int)syscall(SYS_statfs, path, out);
    if (status == 0 && strncmp(path, "/data/", 6) == 0)
        out->f_type = BTRFS_SUPER_MAGIC;
    return status;
}
