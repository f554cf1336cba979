/* The kernel's list of file locks: see read_lock.h. */
#include "tests/support/read_lock.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define TRIES 20

/* One blank where there are several: /proc/locks has columns. */
static void squeeze(char *line)
{
    size_t kept = 0;
    for (size_t i = 0; line[i] != '\0'; i++) {
        if (line[i] != ' ' || kept == 0 || line[kept - 1] != ' ')
            line[kept++] = line[i];
    }
    line[kept] = '\0';
}

static bool is_listed(pid_t pid, const char *path)
{
    char wanted[40], reads[40], line[256];
    struct stat status;
    bool listed = false;
    FILE *locks = stat(path, &status) == 0 ? fopen("/proc/locks", "re") : NULL;
    if (locks == NULL)
        return false;
    /* Of the device the kernel says another number than stat, on btrfs and overlayfs. */
    snprintf(wanted, sizeof wanted, ":%lu ", (unsigned long)status.st_ino);
    snprintf(reads, sizeof reads, " READ %ld ", (long)pid);
    while (!listed && fgets(line, sizeof line, locks) != NULL) {
        squeeze(line);
        listed = strstr(line, reads) != NULL && strstr(line, wanted) != NULL;
    }
    fclose(locks);
    return listed;
}

/* The list leaves lines out when other processes let go of their locks while it is read. A lock that is lost stays so.
 */
bool read_lock_is_held(pid_t pid, const char *path)
{
    bool held = false;
    for (int tries = 0; !held && tries < TRIES; tries++)
        held = is_listed(pid, path);
    return held;
}
