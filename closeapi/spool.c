/* The spool: see spool.h. A run is written forwards and read backwards. */
#include "closeapi/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool spool_failed(const char *what, struct error *why)
{
    error_set(why, "cannot %s a temporary file in the state directory: %s", what, strerror(errno));
    return false;
}

bool spool_begin_run(struct spool *spool)
{
    struct spool_run *more = realloc(spool->runs, (spool->run_count + 1) * sizeof *more);
    if (more == NULL)
        return false;
    uint64_t end = spool->run_count == 0 ? 0 : more[spool->run_count - 1].end;
    spool->runs = more;
    more[spool->run_count++] = (struct spool_run){.begin = end, .end = end};
    return true;
}

bool spool_open(struct spool *spool, const char *directory, struct error *why)
{
    char path[4096];
    *spool = (struct spool){.fd = -1};
    int length = snprintf(path, sizeof path, "%s/spool.XXXXXX", directory);
    spool->fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (spool->fd >= 0)
        path[0] = '\0';
    else if (length > 0 && length < (int)sizeof path)
        spool->fd = mkostemp(path, O_CLOEXEC);
    if (spool->fd < 0)
        return spool_failed("make", why);
    if (path[0] != '\0') /* O_TMPFILE is not supported everywhere */
        unlink(path);
    if (spool_begin_run(spool))
        return true;
    error_set(why, "out of memory");
    spool_close(spool);
    return false;
}

static bool spool_write_at(const struct spool *spool, const void *bytes, size_t length, uint64_t at)
{
    for (const char *from = bytes; length > 0;) {
        ssize_t n = pwrite(spool->fd, from, length, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        from += n;
        at += (uint64_t)n;
        length -= (size_t)n;
    }
    return true;
}

static bool spool_read_at(const struct spool *spool, void *bytes, size_t length, uint64_t at)
{
    for (char *to = bytes; length > 0;) {
        ssize_t n = pread(spool->fd, to, length, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n == 0 ? EIO : errno;
            return false;
        }
        to += n;
        at += (uint64_t)n;
        length -= (size_t)n;
    }
    return true;
}

bool spool_put(struct spool *spool, const char *bytes, size_t length, int64_t order, struct error *why)
{
    struct spool_run *run = &spool->runs[spool->run_count - 1];
    struct spool_trailer trailer = {length, order};
    if (!spool_write_at(spool, bytes, length, run->end) ||
        !spool_write_at(spool, &trailer, sizeof trailer, run->end + length))
        return spool_failed("write", why);
    run->end += length + sizeof trailer;
    run->top = trailer;
    return true;
}

static struct spool_run *spool_first_run(const struct spool *spool)
{
    struct spool_run *first = NULL;
    for (size_t i = 0; i < spool->run_count; i++) {
        struct spool_run *run = &spool->runs[i];
        if (run->end > run->begin && (first == NULL || run->top.order < first->top.order))
            first = run;
    }
    return first;
}

bool spool_take(struct spool *spool, struct buffer *out, int64_t *order, struct error *why)
{
    struct spool_run *run = spool_first_run(spool);
    why->text[0] = '\0';
    if (run == NULL)
        return false;
    size_t length = (size_t)run->top.length;
    uint64_t begin = run->end - sizeof run->top - length;
    buffer_clear(out);
    char *room = buffer_room(out, length);
    if (room == NULL) {
        error_set(why, "out of memory");
        return false;
    }
    if (!spool_read_at(spool, room, length, begin))
        return spool_failed("read", why);
    out->length += length;
    *order = run->top.order;
    if (begin > run->begin && !spool_read_at(spool, &run->top, sizeof run->top, begin - sizeof run->top))
        return spool_failed("read", why);
    run->end = begin;
    return true;
}

void spool_clear(struct spool *spool)
{
    spool->run_count = 1;
    spool->runs[0] = (struct spool_run){.begin = 0, .end = 0};
    if (ftruncate(spool->fd, 0) != 0)
        spool->runs[0].end = 0; /* the old bytes are overwritten */
}

void spool_close(struct spool *spool)
{
    if (spool->fd >= 0)
        close(spool->fd);
    free(spool->runs);
    *spool = (struct spool){.fd = -1};
}
