/* Whether it works: see health.h. */
#include "status/health.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "status/write.h"
#include "watch/clock.h"
#include "watch/no_room.h"

#define PROBE_BYTES 16384 /* really allocated: a file that is written over would show no full disk */

/* When the last probe was written; 0: never. */
static int64_t written_ms(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0 || status.st_size != PROBE_BYTES)
        return 0;
    return status.st_mtim.tv_sec * 1000 + status.st_mtim.tv_nsec / 1000000;
}

/* Returns 0, or the error. */
static int write_probe(const char *made)
{
    char bytes[PROBE_BYTES];
    memset(bytes, '.', sizeof bytes);
    int fd = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    ssize_t n = write(fd, bytes, sizeof bytes);
    int error = n == (ssize_t)sizeof bytes ? 0 : n < 0 ? errno : ENOSPC;
    if (error == 0 && fdatasync(fd) != 0)
        error = errno;
    close(fd);
    return error;
}

static bool can_write(const struct facts *facts, struct health *health)
{
    char path[PATH_MAX], made[PATH_MAX];
    const char *state_dir = facts->config->state_dir;
    int n = snprintf(path, sizeof path, "%s/health.probe", state_dir);
    int m = snprintf(made, sizeof made, "%s/health.%ld", state_dir, (long)getpid());
    if (n >= (int)sizeof path || m >= (int)sizeof made)
        return false;
    health->written_ms = written_ms(path);
    int64_t age_ms = clock_unix_ms() - health->written_ms;
    if (age_ms >= 0 && age_ms < HEALTH_EVERY_MS)
        return true;
    int error = write_probe(made);
    if (error == 0 && rename(made, path) != 0)
        error = errno;
    if (error != 0) {
        unlink(made);
        unlink(path);
        why_set(&health->words, "nothing can be written where the queue is: %s",
                no_room_is(error) ? no_room_words(error) : strerror(error));
        return false;
    }
    health->written_ms = clock_unix_ms();
    return true;
}

static bool is_full(const struct facts *facts)
{
    for (size_t i = 0; i < facts->sources; i++) {
        if (facts_queue_is_full(facts, &facts->source[i]))
            return true;
    }
    return false;
}

void health_look(const struct facts *facts, struct health *health)
{
    *health = (struct health){.good = true};
    why_set(&health->words, "events are accepted");
    if (!facts->queue_works) {
        health->good = false;
        why_set(&health->words, "the queue does not work: the log and the status page say why");
    } else if (facts->no_room.text[0] != '\0') {
        health->good = false;
        why_set(&health->words, "%s", facts->no_room.text);
    } else if (facts->is_durable && !can_write(facts, health)) {
        health->good = false;
    } else if (is_full(facts)) {
        health->good = false;
        why_set(&health->words, "the queue is full");
    }
}

void health_write(struct buffer *out, const struct facts *facts, const struct health *health)
{
    int64_t delivered_ms = 0;
    for (size_t i = 0; i < facts->sources; i++) {
        int64_t one = facts->source[i].counts.last_delivered_ms;
        delivered_ms = one > delivered_ms ? one : delivered_ms;
    }
    buffer_text(out, "{");
    write_name(out, "ok");
    buffer_text(out, health->good ? "true" : "false");
    write_text_member(out, "words", health->words.text);
    write_time_member(out, "last_forwarded", delivered_ms);
    write_time_member(out, "written", health->written_ms);
    buffer_text(out, "}\n");
}
