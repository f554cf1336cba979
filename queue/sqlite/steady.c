/* Can the calendar's clock be believed? Machines start with a clock that stands wrong, and people set it. A jump of
 * more than a day is noted in a file, with what was seen last, for it may happen between two processes; until the clock
 * has then run for a day, nothing is called too old. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "queue/sqlite/store.h"

#define DAY_MS ((int64_t)24 * 60 * 60 * 1000)

/* "SEEN SINCE": Unix times in ms, when it was looked at last and since when it runs steadily. */
static bool read_clock(int fd, long long *seen, long long *since)
{
    char text[64];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return sscanf(text, "%lld %lld", seen, since) == 2; /* NOLINT(cert-err34-c): of our own making */
}

void steady_look(struct store *store)
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
        since = now; /* what cannot be noted is not believed */
    close(fd);
    atomic_store(&store->steady, now - since >= DAY_MS);
}
