/* What is known of a subscription: see close_mark.h. */
#include "watch/close_mark.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void path_of(char out[static PATH_MAX], const char *state_dir, const char *source)
{
    snprintf(out, PATH_MAX, "%s/close.%s", state_dir, source);
}

void close_mark_read(const char *state_dir, const char *source, struct close_mark *mark)
{
    char path[PATH_MAX], text[512] = "", *rest = text;
    *mark = (struct close_mark){0};
    path_of(path, state_dir, source);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return;
    mark->asked_ms = strtoll(rest, &rest, 10);
    mark->complete_until = strtoll(rest, &rest, 10);
    mark->paused = strtoll(rest, &rest, 10) != 0;
    rest += *rest == ' ' ? 1 : 0;
    snprintf(mark->words, sizeof mark->words, "%.*s", (int)strcspn(rest, "\n"), rest);
}

/* A rename, so that nobody reads half of it. */
bool close_mark_write(const char *state_dir, const char *source, const struct close_mark *mark)
{
    char path[PATH_MAX], made[PATH_MAX], text[512];
    path_of(path, state_dir, source);
    int length =
        snprintf(text, sizeof text, "%lld %lld %d %.*s\n", (long long)mark->asked_ms, (long long)mark->complete_until,
                 mark->paused ? 1 : 0, (int)strcspn(mark->words, "\n"), mark->words);
    if (snprintf(made, sizeof made, "%s.new", path) >= (int)sizeof made)
        return false;
    int fd = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool good = write(fd, text, (size_t)length) == length;
    good = close(fd) == 0 && good;
    return good && rename(made, path) == 0;
}
