/* The owner's heartbeat: see beat.h. */
#include "queue/sqlite/beat.h"

#include "base/clock.h"
#include "base/log.h"
#include "queue/sqlite/directory.h"
#include "queue/sqlite/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNKNOWN "?" /* the boot's name where there is no /proc */

void beat_machine(char out[static BEAT_MACHINE])
{
    char host[64] = UNKNOWN, boot[40] = UNKNOWN;
    gethostname(host, sizeof host - 1);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = read(fd, boot, sizeof boot - 1);
        boot[n > 0 ? n : 0] = '\0';
        boot[strcspn(boot, "\n")] = '\0';
        close(fd);
    }
    snprintf(out, BEAT_MACHINE, "%s %s", host, boot);
}

bool beat_is_of(const char *beat, const char *machine)
{
    size_t host = strcspn(machine, " ");
    if (strncmp(beat, machine, host + 1) != 0)
        return false;
    const char *theirs = beat + host + 1, *ours = machine + host + 1;
    size_t length = strlen(ours);
    bool unknown = strcmp(ours, UNKNOWN) == 0 || strncmp(theirs, UNKNOWN " ", strlen(UNKNOWN " ")) == 0;
    return unknown || (strncmp(theirs, ours, length) == 0 && theirs[length] == ' ');
}

void beat_words(const char *beat, struct error *words)
{
    const char *pid = strrchr(beat, ' ');
    error_set(words, "process %s on %.*s", pid == NULL ? "?" : pid + 1, (int)strcspn(beat, " "), beat);
}

bool beat_read(const char *directory, char out[static BEAT_TEXT], int64_t *age_ms)
{
    char path[STATE_PATH];
    struct stat status;
    directory_path(path, directory, "forward.beat");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, out, BEAT_TEXT - 1);
    bool good = n > 0 && fstat(fd, &status) == 0;
    close(fd);
    if (!good)
        return false;
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    *age_ms = clock_unix_ms() - clock_timespec_ms(status.st_mtim);
    return true;
}

void beat_write(const char *directory)
{
    char machine[BEAT_MACHINE], text[BEAT_TEXT];
    int fd = directory_open(directory, "forward.beat", NULL);
    if (fd < 0)
        return;
    beat_machine(machine);
    int length = snprintf(text, sizeof text, "%s %ld\n", machine, (long)getpid());
    if (pwrite(fd, text, (size_t)length, 0) == length && ftruncate(fd, length) == 0)
        futimens(fd, NULL);
    close(fd);
}

/* ---- Whether the system clock can be trusted. Machines boot with a wrong clock, and people set it. A jump of more
 * than a day is recorded in a file together with the time last seen, as it may happen between two processes; until the
 * clock has then run for a day, nothing counts as too old. ---- */

#define DAY_MS ((int64_t)24 * 60 * 60 * 1000)

/* "SEEN SINCE": when the clock was last checked, and since when it runs without a jump; Unix time in ms. */
static bool read_clock(int fd, long long *seen, long long *since)
{
    char text[64];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return sscanf(text, "%lld %lld", seen, since) == 2; /* NOLINT(cert-err34-c): of our own making */
}

void store_check_clock(struct store *store)
{
    long long now = clock_unix_ms(), seen, since;
    int fd = directory_open(store->directory, "clock", NULL);
    if (fd < 0)
        return;
    if (!read_clock(fd, &seen, &since)) {
        since = now;
    } else if (now - seen > DAY_MS || seen - now > DAY_MS) {
        log_write(LEVEL_WARN, "msg=clock_jumped hours=%lld advice=\"nothing is called too old for a day\"",
                  (now - seen) / 3600000);
        since = now;
    }
    if (since > now)
        since = now;
    char text[64];
    int length = snprintf(text, sizeof text, "%lld %lld\n", now, since);
    if (pwrite(fd, text, (size_t)length, 0) != length || ftruncate(fd, length) != 0)
        since = now; /* not trusted if it cannot be recorded */
    close(fd);
    atomic_store(&store->clock_steady, now - since >= DAY_MS);
}
