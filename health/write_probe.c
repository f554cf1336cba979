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
#include "base/last_errors.h"
#include "base/log.h"
#include "health/findings.h"
#include "queue/inspect.h"
#include "webhook/webhook.h"

#define HEALTH_EVERY_MS ((int64_t)5000)

#define LOOK_MS 1000 /* between looks */
#define MINUTE_MS INT64_C(60000)
#define HANGS_MS 20000 /* a probe that takes so long: no webhook is answered in time either */
#define END_MS 300     /* a write may hang for as long as the disk does: the end of the process does not wait for it */

struct prober {
    const struct config *config;
    struct queue *queue; /* a connection of its own, opened by the first probe; the thread's */
    bool serves;         /* this process takes events */
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
    return config_state_dir(config) != NULL &&
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

static bool probe_is_fresh(int64_t written)
{
    int64_t age_ms = clock_unix_ms() - written;
    return age_ms >= 0 && age_ms < HEALTH_EVERY_MS;
}

/* Opens the prober's queue, if it is not. What may not be used is not written into either. */
static bool open_queue(struct prober *prober, struct error *why)
{
    if (prober->queue != NULL && queue_must_reopen(prober->queue)) {
        queue_close(prober->queue);
        prober->queue = NULL;
    }
    if (prober->queue == NULL)
        prober->queue = queue_open(prober->config, why);
    return prober->queue != NULL;
}

/* One that another user left there, as root does who started the program once, is made anew. */
static int open_probe(const char *path, struct error *why)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EACCES && unlink(path) == 0)
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        error_set(why, "cannot open %.300s: %s", path, strerror(errno));
    return fd;
}

/* With the file locked. */
static bool probe_once(struct prober *prober, int fd, struct error *why)
{
    if (!queue_probe(prober->queue, prober->serves, why))
        return false;
    if (futimens(fd, NULL) == 0)
        return true;
    error_set(why, "health.probe: %s", strerror(errno));
    return false;
}

/* Writes a probe unless another process has just done so, or is doing it. Returns false with the reason when it could
 * not be written. */
static bool probe_if_due(struct prober *prober, struct error *why)
{
    char path[PATH_MAX];
    int64_t before = probe_path(prober->config, path) ? written_ms(path) : 0;
    if (probe_is_fresh(before))
        return true;
    int fd = open_queue(prober, why) ? open_probe(path, why) : -1;
    if (fd < 0)
        return false;
    bool another = flock(fd, LOCK_EX | LOCK_NB) != 0;
    bool done = before > 0 && probe_is_fresh(written_ms(path)); /* one that was just made is new without a write */
    bool good = another || done || probe_once(prober, fd, why);
    close(fd);
    return good;
}

static void set_probed(struct prober *prober, bool good)
{
    char path[PATH_MAX];
    int64_t written = probe_path(prober->config, path) ? written_ms(path) : 0;
    pthread_mutex_lock(&prober->lock);
    prober->probed = (struct probed){.known = true, .good = good, .written_ms = written, .looked = clock_now()};
    pthread_mutex_unlock(&prober->lock);
}

/* Not all the time where it fails. */
static void probe_and_log(struct prober *prober)
{
    struct error why = {0};
    char words[LOG_QUOTED];
    moment now = clock_now();
    if (prober->failed > 0 && now - prober->failed < HEALTH_EVERY_MS) {
        set_probed(prober, false);
        return;
    }
    bool good = probe_if_due(prober, &why), was_good = prober->failed == 0;
    prober->failed = good ? 0 : now;
    set_probed(prober, good);
    if (!good && was_good)
        log_write(LEVEL_ERROR, "msg=not_healthy reason=%s", log_quote_reason(words, why.text));
    else if (good && !was_good)
        log_write(LEVEL_INFO, "msg=healthy_again");
}

/* Returns false when it is to end. */
static bool wait_for_next_probe(struct prober *prober)
{
    moment until = clock_now() + LOOK_MS;
    pthread_mutex_lock(&prober->lock);
    while (!prober->ending && clock_now() < until)
        clock_condition_wait(&prober->changed, &prober->lock, until);
    bool on = !prober->ending;
    pthread_mutex_unlock(&prober->lock);
    return on;
}

static void *run_prober(void *context)
{
    struct prober *prober = context;
    while (wait_for_next_probe(prober)) {
        probe_and_log(prober);
        last_errors_flush(false);
    }
    pthread_mutex_lock(&prober->lock);
    prober->ended = true;
    pthread_cond_broadcast(&prober->changed);
    pthread_mutex_unlock(&prober->lock);
    return NULL;
}

static void free_prober(struct prober *prober)
{
    queue_close(prober->queue);
    pthread_cond_destroy(&prober->changed);
    pthread_mutex_destroy(&prober->lock);
    free(prober);
}

struct prober *prober_start(const struct config *config, bool *said)
{
    struct prober *prober = config_keeps_events(config) ? calloc(1, sizeof *prober) : NULL;
    if (prober == NULL)
        return NULL;
    prober->config = config;
    prober->serves = true;
    pthread_mutex_init(&prober->lock, NULL);
    clock_condition_init(&prober->changed);
    int error = pthread_create(&prober->thread, NULL, run_prober, prober);
    if (error == 0)
        return prober;
    if (!*said)
        log_write(LEVEL_ERROR, "msg=health_is_not_probed reason=\"%s\"", strerror(error));
    *said = true;
    free_prober(prober);
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
    free_prober(prober);
    return true;
}

void prober_once(const struct config *config)
{
    struct prober prober = {.config = config};
    if (!config_keeps_events(config))
        return;
    pthread_mutex_init(&prober.lock, NULL);
    probe_and_log(&prober);
    queue_close(prober.queue);
    pthread_mutex_destroy(&prober.lock);
}

/* ---- health checks ---- */

/* For how long an event that could not be kept says how it is, unless a probe was written since: where nothing is sent
 * any more because of this answer, no event would ever show that it works again. */
static const struct {
    enum refusal refusal;
    int64_t valid_ms;
    const char *words;
} failures[] = {
    {REFUSED_QUEUE_FULL, 10 * MINUTE_MS, "there was no room for the last event: the log says why"},
    {REFUSED_QUEUE_BROKEN, MINUTE_MS, "the last event could not be kept: the log says why"},
    {REFUSED_QUEUE_SLOW, MINUTE_MS, "the last event was not kept in time"},
};

/* What became of the last event of any source: NULL when it was kept, or no event was refused for the queue's sake
 * lately. */
static const char *last_failure(const struct facts *facts, const struct probed *probed)
{
    const char *words = NULL;
    int64_t newest_ms = 0, accepted_ms = 0;
    for (size_t i = 0; i < facts->sources; i++) {
        const struct source_facts *one = &facts->source[i];
        if (one->away.text[0] != '\0')
            continue; /* its queue is away: those of the others may work */
        if (one->counts.last_accepted_ms > accepted_ms)
            accepted_ms = one->counts.last_accepted_ms;
        for (size_t k = 0; k < sizeof failures / sizeof *failures; k++) {
            int64_t failed_ms = one->tally.refused_last_ms[failures[k].refusal];
            if (failed_ms <= newest_ms || facts->now_ms - failed_ms >= failures[k].valid_ms)
                continue;
            bool is_full = failures[k].refusal == REFUSED_QUEUE_FULL &&
                           finding_judge(FINDING_QUEUE_NEARLY_FULL, facts, NULL, NULL) == FINDING_FOUND;
            if (probed->good && probed->written_ms > failed_ms + HEALTH_EVERY_MS && !is_full)
                continue; /* a probe does not show that queue_max_bytes is used up, but the facts do */
            newest_ms = failed_ms;
            words = failures[k].words;
        }
    }
    return newest_ms > accepted_ms ? words : NULL;
}

static const char *probe_failure(const struct probed *probed)
{
    if (!probed->known)
        return NULL;
    if (!probed->good)
        return "nothing can be written where the queue is: the log says why";
    return clock_now() - probed->looked >= HANGS_MS ? "writing where the queue is takes too long" : NULL;
}

void prober_judge(const struct facts *facts, bool stands, const struct probed *probed, struct health *health)
{
    const char *words = NULL;
    *health = (struct health){.written_ms = probed->written_ms};
    if (!facts->queue_works && facts->queue_why.kind == ERROR_MISSING)
        words = "the state directory is gone: put it back, and nothing is lost; the log says more";
    else if (!stands)
        words = "the queue is not open: the log says why";
    else if (!facts->queue_works)
        words = "the queue does not work: the log says why";
    else if (facts->replaced.text[0] != '\0')
        words = facts->replaced.text;
    else if (facts->no_room.text[0] != '\0')
        words = facts->no_room.text;
    if (words == NULL)
        words = probe_failure(probed);
    if (words == NULL)
        words = last_failure(facts, probed);
    health->good = words == NULL;
    error_set(&health->words, "%s", words == NULL ? "events are accepted" : words);
}
