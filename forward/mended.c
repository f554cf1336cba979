/* `check` has found that a data plane which refused takes the write key again. The process that forwards learns it from
 * a file in the state directory, by the time of its last change, and need not sit out its wait. When that is wrong, one
 * event is tried too early. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "forward/forward.h"
#include "forward/steps.h"

#define PATH_ROOM 4096

static const char *path_of(const struct config *config, char out[static PATH_ROOM])
{
    if (config->queue != QUEUE_SQLITE || snprintf(out, PATH_ROOM, "%s/mended", config->state_dir) >= PATH_ROOM)
        return NULL;
    return out;
}

bool forward_mended(const struct config *config)
{
    char path[PATH_ROOM];
    if (path_of(config, path) == NULL)
        return false;
    int file = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    bool good = file >= 0 && futimens(file, NULL) == 0;
    if (file >= 0)
        close(file);
    return good;
}

bool traffic_mended_since(const struct traffic *traffic, int64_t unix_ms)
{
    char path[PATH_ROOM];
    struct stat file;
    if (path_of(traffic->config, path) == NULL || stat(path, &file) != 0)
        return false;
    return clock_timespec_ms(file.st_mtim) > unix_ms;
}

void traffic_look_mended(struct traffic *traffic)
{
    bool blocked = traffic->blocked_until > clock_now();
    if ((!blocked && !traffic->search.said_so) || !traffic_mended_since(traffic, traffic->refused_ms))
        return;
    traffic->refused_ms = clock_unix_ms(); /* this was it: once */
    traffic->blocked_until = 0;
    traffic->notes_differ = true;
    for (struct pending *p = traffic->aside.first; p != NULL; p = p->next)
        p->until = 0;
}
