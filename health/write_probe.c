/* Writing probes: see write_probe.h. */
#include "health/write_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "queue/inspect.h"

#define LOOK_MS 1000 /* between looks */
#define END_MS 300   /* a write may hang for as long as the disk does: the end of the process does not wait for it */

struct prober {
    const struct config *config;
    struct queue *queue; /* a connection of its own, opened by the first probe; the thread's */
    moment failed;       /* it is not tried at once again; 0: the last one did not fail */
    pthread_t thread;
    pthread_mutex_t lock; /* over what follows */
    pthread_cond_t changed;
    bool ending;
    bool ended; /* the thread has nothing left to do */
    struct probed probed;
};

static bool probe_path(const struct config *config, char path[static PATH_MAX])
{
    return config->queue == QUEUE_SQLITE && config->state_dir != NULL &&
           snprintf(path, PATH_MAX, "%s/health.probe", config->state_dir) < PATH_MAX;
}

/* When the last probe succeeded; Unix time; 0: none is known. */
static int64_t written_ms(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0 || !S_ISREG(status.st_mode))
        return 0;
    return clock_timespec_ms(status.st_mtim);
}

static bool is_fresh(int64_t written)
{
    int64_t age_ms = clock_unix_ms() - written;
    return age_ms >= 0 && age_ms < HEALTH_EVERY_MS;
}

static bool write_probe(struct prober *prober, struct error *why)
{
    if (prober->queue != NULL && queue_must_reopen(prober->queue)) {
        queue_close(prober->queue);
        prober->queue = NULL;
    }
    if (prober->queue == NULL)
        prober->queue = queue_open(prober->config, why);
    return prober->queue != NULL && queue_probe(prober->queue, why);
}

/* With the file locked. */
static bool probe_once(struct prober *prober, int fd, struct error *why)
{
    if (!write_probe(prober, why))
        return false;
    if (futimens(fd, NULL) == 0)
        return true;
    error_set(why, "health.probe: %s", strerror(errno));
    return false;
}

/* Writes a probe unless another process has just done so, or is doing it. Returns false with the reason when it could
 * not be written. */
static bool look(struct prober *prober, struct error *why)
{
    char path[PATH_MAX];
    int64_t before = probe_path(prober->config, path) ? written_ms(path) : 0;
    if (is_fresh(before))
        return true;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        error_set(why, "health.probe: %s", strerror(errno));
        return false;
    }
    bool another = flock(fd, LOCK_EX | LOCK_NB) != 0;
    bool done = before > 0 && is_fresh(written_ms(path)); /* one that was just made is new without a write */
    bool good = another || done || probe_once(prober, fd, why);
    close(fd);
    return good;
}

static void set_result(struct prober *prober, bool good)
{
    char path[PATH_MAX];
    int64_t written = probe_path(prober->config, path) ? written_ms(path) : 0;
    pthread_mutex_lock(&prober->lock);
    prober->probed = (struct probed){.known = true, .good = good, .written_ms = written, .looked = clock_now()};
    pthread_mutex_unlock(&prober->lock);
}

/* Not all the time where it fails. */
static void look_now_and_then(struct prober *prober)
{
    struct error why = {0};
    char words[LOG_QUOTED];
    moment now = clock_now();
    if (prober->failed > 0 && now - prober->failed < HEALTH_EVERY_MS) {
        set_result(prober, false);
        return;
    }
    bool good = look(prober, &why), was_good = prober->failed == 0;
    prober->failed = good ? 0 : now;
    set_result(prober, good);
    if (!good && was_good)
        log_write(LEVEL_ERROR, "msg=not_healthy reason=%s", log_quote(words, why.text, strlen(why.text)));
    else if (good && !was_good)
        log_write(LEVEL_INFO, "msg=healthy_again");
}

/* Returns false when it is to end. */
static bool wait_a_while(struct prober *prober)
{
    moment until = clock_now() + LOOK_MS;
    pthread_mutex_lock(&prober->lock);
    while (!prober->ending && clock_now() < until)
        clock_condition_wait(&prober->changed, &prober->lock, until);
    bool on = !prober->ending;
    pthread_mutex_unlock(&prober->lock);
    return on;
}

static void *run(void *context)
{
    struct prober *prober = context;
    while (wait_a_while(prober))
        look_now_and_then(prober);
    pthread_mutex_lock(&prober->lock);
    prober->ended = true;
    pthread_cond_broadcast(&prober->changed);
    pthread_mutex_unlock(&prober->lock);
    return NULL;
}

static void destroy(struct prober *prober)
{
    queue_close(prober->queue);
    pthread_cond_destroy(&prober->changed);
    pthread_mutex_destroy(&prober->lock);
    free(prober);
}

struct prober *prober_start(const struct config *config, bool *said)
{
    struct prober *prober = config->queue == QUEUE_SQLITE ? calloc(1, sizeof *prober) : NULL;
    if (prober == NULL)
        return NULL;
    prober->config = config;
    pthread_mutex_init(&prober->lock, NULL);
    clock_condition_init(&prober->changed);
    int error = pthread_create(&prober->thread, NULL, run, prober);
    if (error == 0)
        return prober;
    if (!*said)
        log_write(LEVEL_ERROR, "msg=health_is_not_probed reason=\"%s\"", strerror(error));
    *said = true;
    destroy(prober);
    return NULL;
}

void prober_result(struct prober *prober, const struct config *config, struct probed *probed)
{
    char path[PATH_MAX];
    *probed = (struct probed){.known = false};
    if (prober == NULL) {
        probed->written_ms = probe_path(config, path) ? written_ms(path) : 0;
        return;
    }
    pthread_mutex_lock(&prober->lock);
    *probed = prober->probed;
    pthread_mutex_unlock(&prober->lock);
}

bool prober_stop(struct prober *prober)
{
    if (prober == NULL)
        return true;
    moment late = clock_now() + END_MS;
    pthread_mutex_lock(&prober->lock);
    prober->ending = true;
    pthread_cond_broadcast(&prober->changed);
    while (!prober->ended && clock_now() < late)
        clock_condition_wait(&prober->changed, &prober->lock, late);
    bool ended = prober->ended;
    pthread_mutex_unlock(&prober->lock);
    if (!ended) { /* it is left behind, with what it uses */
        pthread_detach(prober->thread);
        return false;
    }
    pthread_join(prober->thread, NULL);
    destroy(prober);
    return true;
}

void prober_once(const struct config *config)
{
    struct prober prober = {.config = config};
    if (config->queue != QUEUE_SQLITE)
        return;
    pthread_mutex_init(&prober.lock, NULL);
    look_now_and_then(&prober);
    queue_close(prober.queue);
    pthread_mutex_destroy(&prober.lock);
}
