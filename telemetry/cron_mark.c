/* When cron ran last, and what it has reported. */
#include "telemetry/telemetry.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

static void path_of(char out[static PATH_MAX], const char *state_dir)
{
    snprintf(out, PATH_MAX, "%s/cron.last", state_dir);
}

void cron_mark_read(const char *state_dir, struct cron_mark *mark)
{
    char path[PATH_MAX], text[32] = "";
    struct stat status;
    *mark = (struct cron_mark){0};
    path_of(path, state_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (read(fd, text, sizeof text - 1) >= 0)
        mark->letter = strtoull(text, NULL, 10);
    if (fstat(fd, &status) == 0)
        mark->ran_ms = clock_timespec_ms(status.st_mtim);
    close(fd);
}

/* Written in place, and mostly with the same length: a full disk has no room for a new file. */
bool cron_mark_write(const char *state_dir, uint64_t letter, const char *more)
{
    char path[PATH_MAX];
    path_of(path, state_dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    int length = dprintf(fd, "%020llu\n%s", (unsigned long long)letter, more);
    bool good = length > 0 && ftruncate(fd, length) == 0 && futimens(fd, NULL) == 0;
    return close(fd) == 0 && good;
}
