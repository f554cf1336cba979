/* The face kept.h: passes each call to the engine that belongs to the configuration's queue. A lock is a lock file,
 * too, whatever the engine: it says which process of this machine has it. */
#include "kept/kept.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "kept/engine.h"
#include "kept/heard.h"

static const struct kept_engine *const engines[] = {
    [QUEUE_SQLITE] = &kept_engine_files,
    [QUEUE_NONE] = &kept_engine_files,
#ifdef CLOSECRM_POSTGRESQL
    [QUEUE_POSTGRESQL] = &kept_engine_postgresql,
#else
    [QUEUE_POSTGRESQL] = &kept_engine_files, /* the queue cannot be opened, and says why */
#endif
};

struct kept {
    const struct kept_engine *engine;
    const struct config *config;
    void *state;
    int lock[KEPT_LOCKS];
    size_t locks;
};

struct kept *kept_open(const struct config *config, struct error *why)
{
    struct kept *kept = calloc(1, sizeof *kept);
    if (kept == NULL) {
        error_set(why, "out of memory");
        return NULL;
    }
    kept->engine = engines[config->queue];
    kept->config = config;
    kept->state = kept->engine->open(config, why);
    if (kept->state != NULL)
        return kept;
    free(kept);
    return NULL;
}

void kept_close(struct kept *kept)
{
    if (kept == NULL)
        return;
    kept->engine->close(kept->state); /* first, for the files say that this process is at it */
    while (kept->locks > 0)
        close(kept->lock[--kept->locks]);
    free(kept);
}

/* ---- locks ---- */

/* Says which process holds the lock, and what to do. */
static void describe_lock_holder(const char *path, struct error *why)
{
    struct lock_holder holder = lock_find_holder(path);
    if (holder.stopped)
        error_set(why, "process %ld is at it, and was stopped (Ctrl-Z): `kill -CONT %ld` lets it go on",
                  (long)holder.pid, (long)holder.pid);
    else if (holder.pid > 0)
        error_set(why, "process %ld is at it now: try again when it has ended", (long)holder.pid);
    else
        error_set(why, "another process is at it now: try again when it has ended");
}

bool kept_is_stopped(const char *path, struct error *why)
{
    if (!lock_find_holder(path).stopped)
        return false;
    describe_lock_holder(path, why);
    return true;
}

bool kept_lock(struct kept *kept, const char *directory, const char *name, int64_t wait_ms, struct error *why)
{
    char path[FILES_PATH];
    moment until = clock_now() + wait_ms;
    int length = snprintf(path, sizeof path, "%.3900s/%s", directory, name);
    size_t folder = strlen(kept->config->state_dir) + 1;
    if (kept->locks == KEPT_LOCKS || length >= (int)sizeof path || folder >= (size_t)length) {
        error_set(why, "%.300s/%.100s cannot be locked", directory, name);
        return false;
    }
    int *fd = &kept->lock[kept->locks];
    *fd = -1;
    int error = lock_take_within(fd, path, wait_ms);
    if (error == EWOULDBLOCK)
        describe_lock_holder(path, why);
    else if (error != 0)
        error_set(why, "cannot lock %.300s: %s", path, strerror(error));
    if (error != 0)
        return false;
    moment left = until - clock_now();
    if (!kept->engine->lock(kept->state, path + folder, left > 0 ? left : 0, why)) {
        close(*fd);
        return false;
    }
    kept->locks++;
    return true;
}

/* ---- the rest ---- */

bool kept_put(struct kept *kept, const char *directory, const char *name, const char *text, struct error *why)
{
    return kept->engine->put(kept->state, directory, name, text, why);
}

bool kept_remove(struct kept *kept, const char *directory, const char *name, struct error *why)
{
    return kept->engine->remove(kept->state, directory, name, why);
}

bool kept_move(struct kept *kept, const char *from, const char *to, const char *name, bool *taken, struct error *why)
{
    *taken = false;
    return kept->engine->move(kept->state, from, to, name, taken, why);
}

bool kept_look(struct kept *kept, struct error *why)
{
    return kept->engine->look(kept->state, why);
}

bool kept_catch_up(const struct config *config, struct error *why)
{
    if (config->state_dir == NULL || engines[config->queue]->is_fresh(config) || access(config->state_dir, F_OK) != 0)
        return true;
    struct kept *kept = kept_open(config, why);
    bool good = kept != NULL && kept_look(kept, why);
    kept_close(kept);
    return good;
}

bool kept_is_known(const struct config *config, struct error *why)
{
    return config->state_dir == NULL || engines[config->queue]->is_known(config, why);
}

bool kept_is_shared(const struct config *config)
{
    return config->state_dir != NULL && engines[config->queue]->is_shared;
}

bool kept_secret(const struct config *config, unsigned char secret[static KEPT_SECRET])
{
    return kept_is_shared(config) && engines[config->queue]->secret(config, secret);
}

bool kept_exchange(struct kept *kept, const struct kept_speaker *speaker, struct error *why)
{
    return kept->engine->exchange == NULL || kept->engine->exchange(kept->state, speaker, why);
}

bool kept_say(struct kept *kept, const struct kept_record *records, size_t count, struct error *why)
{
    return kept->engine->say == NULL || kept->engine->say(kept->state, records, count, why);
}

int64_t kept_heard_ms(const struct config *config)
{
    struct heard heard;
    return kept_is_shared(config) && heard_read(config->state_dir, &heard) ? heard.at_ms : 0;
}

struct kept_watch {
    const struct kept_engine *engine;
    void *state;
};

struct kept_watch *kept_watch_start(const struct config *config, const struct kept_speaker *speaker)
{
    struct kept_watch *watch = config->state_dir == NULL ? NULL : calloc(1, sizeof *watch);
    if (watch == NULL) {
        if (speaker->close != NULL)
            speaker->close(speaker->context);
        return NULL;
    }
    watch->engine = engines[config->queue];
    watch->state = watch->engine->watch_start(config, speaker);
    if (watch->state != NULL)
        return watch;
    free(watch);
    return NULL;
}

bool kept_watch_stop(struct kept_watch *watch)
{
    bool ended = watch == NULL || watch->engine->watch_stop(watch->state);
    free(watch);
    return ended;
}
