/* The stages of a process that stays: see process_private.h. */
#include "process/process_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "closeapi/closeapi.h"
#include "forward/forward.h"
#include "health/facts.h"
#include "kept/kept.h"
#include "queue/inspect.h"
#include "telemetry/telemetry.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define OPEN_AGAIN_MS 2000   /* between tries of what failed: to open the queue, to forward, ... */
#define OPEN_SOON_MS 250     /* ... but after the first that failed, as while files are replaced */
#define CLAIM_AGAIN_MS 500   /* between tries to be the one who forwards */
#define SAY_AGAIN_MS 60000   /* between log lines about the same reason */
#define REOPEN_AFTER_MS 1000 /* since the queue was opened: earlier it is not reopened */
#define STOPPED_LATE_MS 200  /* what the thread may take beyond its deadline */

/* What is opened and closed together. */
struct pipeline_stages {
    struct queue *queue;
    struct kept_watch *watch;
    struct webhook *webhook;     /* NULL: no webhooks are taken */
    struct forwarder *forwarder; /* NULL: it could not be made, and is tried again; events are kept meanwhile */
    struct telemetry telemetry;
};

/* A reason that is logged the first time, when it is another one, and every minute. */
struct complaint {
    struct error said;
    moment at;
};

struct pipeline {
    const struct config *config;
    struct gate *gate; /* NULL: no webhooks are taken */
    pthread_t thread;
    pthread_mutex_t lock; /* over what follows */
    pthread_cond_t changed;
    bool stopping;
    bool ended; /* the thread has nothing left to do */
    moment stop_deadline;
    moment request_deadline;       /* MOMENT_NEVER: none */
    moment opened_at;              /* when the stages were opened; MOMENT_NEVER: they are not */
    struct pipeline_stages stages; /* all zero until they are open */
    struct reconciler *reconciler; /* NULL: the configuration wants none, or it could not be started */
    bool reconciler_failed;        /* to start: pipeline_retry starts it */
};

static void stages_close(struct pipeline_stages *stages)
{
    forwarder_free(stages->forwarder);
    webhook_free(stages->webhook);
    kept_watch_stop(stages->watch);
    if (stages->queue != NULL)
        queue_close(stages->queue);
    telemetry_close(&stages->telemetry);
}

static bool stages_open(struct pipeline_stages *stages, const struct pipeline *pipeline, struct error *why)
{
    *stages = (struct pipeline_stages){.queue = queue_open(pipeline->config, why)};
    struct kept_speaker speaker;
    bool good = stages->queue != NULL;
    if (good) {
        machines_speaker(pipeline->config, &speaker);
        stages->watch = kept_watch_start(pipeline->config, &speaker); /* before anybody asks for keys */
        telemetry_open(&stages->telemetry, pipeline->config);
    }
    if (good && pipeline->gate != NULL) {
        if (pipeline->gate->confine != NULL)
            queue_start_writer(stages->queue); /* request threads cannot */
        stages->webhook = webhook_new(pipeline->config, stages->queue, why);
        good = stages->webhook != NULL;
    }
    if (stages->webhook != NULL)
        webhook_count(stages->webhook, stages->telemetry.counters);
    if (!good)
        stages_close(stages);
    return good;
}

/* Hands the opened stages to the other threads. Returns false when the process stops already. */
static bool publish_stages(struct pipeline *pipeline, const struct pipeline_stages *stages)
{
    pthread_mutex_lock(&pipeline->lock);
    bool on = !pipeline->stopping;
    pipeline->stages = *stages;
    pipeline->opened_at = clock_now();
    if (pipeline->request_deadline != MOMENT_NEVER)
        queue_set_stop_deadline(stages->queue, pipeline->request_deadline);
    pthread_mutex_unlock(&pipeline->lock);
    if (pipeline->gate != NULL) {
        confine_to_state(pipeline->gate->confine);
        status_attach(pipeline->gate->status, &stages->telemetry);
        gate_open(pipeline->gate, stages->webhook);
    }
    return on;
}

/* Waits before the next attempt. Returns false when the process is to stop. */
static bool wait_before_retry(struct pipeline *pipeline, int64_t ms)
{
    moment until = clock_now() + ms;
    pthread_mutex_lock(&pipeline->lock);
    while (!pipeline->stopping && clock_now() < until)
        clock_condition_wait(&pipeline->changed, &pipeline->lock, until);
    bool on = !pipeline->stopping;
    pthread_mutex_unlock(&pipeline->lock);
    return on;
}

static void complain(struct complaint *complaint, const char *msg, const char *advice, const struct error *why)
{
    char words[LOG_QUOTED];
    moment now = clock_now();
    if (strcmp(why->text, complaint->said.text) == 0 && now - complaint->at < SAY_AGAIN_MS)
        return;
    *complaint = (struct complaint){*why, now};
    log_write(LEVEL_ERROR, "msg=%s next_seconds=%d advice=\"%s\" reason=%s", msg, OPEN_AGAIN_MS / 1000, advice,
              log_quote_reason(words, why->text));
}

/* Logs when something is left in a queue on disk, or a database, and the configuration now names another. */
static void warn_of_left_behind(const struct config *config)
{
    struct left_behind left;
    char words[LOG_QUOTED];
    queue_left(config, &left);
    if (left.waiting + left.dead > 0 || left.why.text[0] != '\0')
        log_write(LEVEL_WARN,
                  "msg=queue_not_used state_dir=\"%s\" waiting=%llu dead=%llu advice=\"nothing delivers what is in its "
                  "queue.db: closecrm.fcgi check says what to do\" reason=%s",
                  config->state_dir, (unsigned long long)left.waiting, (unsigned long long)left.dead,
                  log_quote_reason(words, left.why.text));
    if (left.databases > 0)
        log_write(
            LEVEL_WARN,
            "msg=database_not_used state_dir=\"%s\" advice=\"what waits in that database is not forwarded by this "
            "machine: closecrm.fcgi check says what to do\" queue=%s",
            config->state_dir, log_quote_reason(words, left.database));
}

/* Logs when events are left in a state directory that the configuration named before. */
static void warn_of_left_elsewhere(const struct config *config)
{
    struct left_elsewhere left;
    char words[LOG_QUOTED];
    queue_look_elsewhere(config, &left);
    if (left.directory[0] == '\0')
        return;
    log_write(LEVEL_WARN,
              "msg=state_dir_left state_dir=\"%s\" waiting=%llu dead=%llu advice=\"state_dir was changed, and nothing "
              "delivers what is there: closecrm.fcgi check says what to do\" reason=%s",
              left.directory, (unsigned long long)left.waiting, (unsigned long long)left.dead,
              log_quote_reason(words, left.why.text));
}

void pipeline_warn_of_other(const struct config *config)
{
    char where[PATH_MAX];
    queue_look_for_other(config, where);
    if (where[0] != '\0')
        log_write(LEVEL_WARN,
                  "msg=state_dir_shared configuration=\"%s\" advice=\"what waits goes to the data plane of the "
                  "configuration whose process forwards: give each a state_dir of its own\"",
                  where);
}

/* Tries to open the stages until it succeeds. Returns false when the process is to stop. */
static bool open_until_it_works(struct pipeline *pipeline)
{
    struct pipeline_stages stages;
    struct error why = {0};
    struct complaint complaint = {.at = 0};
    char library[QUEUE_LIBRARY];
    for (int64_t wait_ms = OPEN_SOON_MS; !stages_open(&stages, pipeline, &why); wait_ms = OPEN_AGAIN_MS) {
        complain(&complaint, "cannot_open_queue", "requests are answered 503 until it can be", &why);
        if (pipeline->gate != NULL)
            gate_close(pipeline->gate);
        if (!wait_before_retry(pipeline, wait_ms))
            return false;
    }
    if (complaint.said.text[0] != '\0')
        log_write(LEVEL_INFO, "msg=queue_opened");
    queue_library(pipeline->config, library);
    if (library[0] != '\0')
        log_write(LEVEL_INFO, "msg=queue_library version=\"%s\"", library);
    warn_of_left_behind(pipeline->config);
    warn_of_left_elsewhere(pipeline->config);
    pipeline_warn_of_other(pipeline->config);
    return publish_stages(pipeline, &stages);
}

/* Starts reconciling where it is configured. When that fails, webhooks and forwarding go on. */
static void start_reconciler(struct pipeline *pipeline)
{
    struct error why = {0};
    if (!reconciler_is_wanted(pipeline->config))
        return;
    pthread_mutex_lock(&pipeline->lock);
    if (pipeline->reconciler == NULL && !pipeline->stopping)
        pipeline->reconciler = reconciler_start(pipeline->config, &why);
    if (pipeline->reconciler == NULL && !pipeline->stopping && !pipeline->reconciler_failed)
        log_write(LEVEL_ERROR, "msg=does_not_reconcile reason=\"%s\" advice=\"it is tried again\"", why.text);
    pipeline->reconciler_failed = pipeline->reconciler == NULL;
    pthread_mutex_unlock(&pipeline->lock);
}

void pipeline_retry(struct pipeline *pipeline)
{
    pthread_mutex_lock(&pipeline->lock);
    bool again = pipeline->reconciler_failed;
    if (pipeline->stages.queue != NULL && pipeline->gate != NULL && pipeline->gate->confine != NULL)
        queue_start_writer(pipeline->stages.queue);
    pthread_mutex_unlock(&pipeline->lock);
    if (again)
        start_reconciler(pipeline);
}

/* Until this process is the one who forwards. Nothing says that another one gives that up, so it is tried again. Only
 * then is made what forwards, which loads libcurl with its 25 libraries: of a pool's processes all but one do without.
 * Returns false when the process is to stop. */
static bool wait_for_claim(struct pipeline *pipeline, struct complaint *complaint)
{
    struct error why = {0};
    for (bool said = false; !queue_claim(pipeline->stages.queue, &why);) {
        bool busy = why.kind == ERROR_BUSY;
        if (!busy)
            complain(complaint, "cannot_forward", "it is tried again; nothing is lost", &why);
        else if (!said)
            log_write(LEVEL_INFO, "msg=does_not_forward reason=\"%s\"", why.text);
        said |= busy;
        if (!wait_before_retry(pipeline, busy ? CLAIM_AGAIN_MS : OPEN_AGAIN_MS))
            return false;
    }
    return true;
}

/* Makes what forwards, unless it is there. Returns false when that is not possible now, or the process is to stop. */
static bool make_forwarder(struct pipeline *pipeline, struct complaint *complaint)
{
    struct error why = {0};
    if (pipeline->stages.forwarder != NULL)
        return true;
    struct forwarder *forwarder = forwarder_new(pipeline->config, pipeline->stages.queue, &why);
    if (forwarder == NULL) {
        complain(complaint, "cannot_forward", "it is tried again; nothing is lost", &why);
        return false;
    }
    forwarder_watch(forwarder, &pipeline->stages.telemetry);
    pthread_mutex_lock(&pipeline->lock);
    pipeline->stages.forwarder = forwarder;
    bool on = !pipeline->stopping;
    pthread_mutex_unlock(&pipeline->lock);
    return on;
}

static void drop_forwarder(struct pipeline *pipeline)
{
    pthread_mutex_lock(&pipeline->lock);
    struct forwarder *forwarder = pipeline->stages.forwarder;
    pipeline->stages.forwarder = NULL;
    pthread_mutex_unlock(&pipeline->lock);
    forwarder_free(forwarder);
}

/* Forwards until the process is to stop, or that is not possible now, or another process may have the claim. Returns
 * whether to try again. */
static bool forward_while_owned(struct pipeline *pipeline, struct complaint *complaint)
{
    if (!wait_for_claim(pipeline, complaint))
        return false;
    bool ran = make_forwarder(pipeline, complaint) &&
               forwarder_run(pipeline->stages.forwarder, FORWARD_UNTIL_STOPPED, MOMENT_NEVER);
    bool lost = ran && queue_is_lost(pipeline->stages.queue);
    if (lost)
        drop_forwarder(pipeline);
    return lost || (!ran && wait_before_retry(pipeline, OPEN_AGAIN_MS));
}

static void *run_pipeline(void *context)
{
    struct pipeline *pipeline = context;
    struct complaint complaint = {.at = 0};
    bool on = open_until_it_works(pipeline);
    if (on) {
        queue_join(pipeline->stages.queue);
        configs_note(pipeline->config, NULL); /* where the database is away now, cron does */
        start_reconciler(pipeline);
    }
    while (on)
        on = forward_while_owned(pipeline, &complaint);
    pthread_mutex_lock(&pipeline->lock);
    pipeline->ended = true;
    pthread_cond_broadcast(&pipeline->changed);
    pthread_mutex_unlock(&pipeline->lock);
    return NULL;
}

static void free_pipeline(struct pipeline *pipeline)
{
    pthread_cond_destroy(&pipeline->changed);
    pthread_mutex_destroy(&pipeline->lock);
    free(pipeline);
}

struct pipeline *pipeline_start(const struct config *config, struct gate *gate, struct error *why)
{
    struct pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (pipeline == NULL) {
        error_set(why, "out of memory");
        return NULL;
    }
    pipeline->config = config;
    pipeline->gate = gate;
    pipeline->request_deadline = pipeline->opened_at = MOMENT_NEVER;
    pthread_mutex_init(&pipeline->lock, NULL);
    clock_condition_init(&pipeline->changed);
    int error = pthread_create(&pipeline->thread, NULL, run_pipeline, pipeline);
    if (error == 0)
        return pipeline;
    error_set(why, "cannot start a thread: %s", strerror(error));
    free_pipeline(pipeline);
    return NULL;
}

/* Whether request threads are confined to a directory that is not the state directory any more, while the queue's own
 * files are where they were: somebody has moved them into another directory, and that into the place of theirs. With
 * the lock held. */
static bool is_confined_elsewhere(const struct pipeline *pipeline)
{
    struct error why = {0};
    return pipeline->gate != NULL && confine_is_stale(pipeline->gate->confine) &&
           queue_stands(pipeline->stages.queue, &why);
}

bool pipeline_must_reopen(struct pipeline *pipeline)
{
    pthread_mutex_lock(&pipeline->lock);
    bool must = pipeline->stages.queue != NULL &&
                (queue_must_reopen(pipeline->stages.queue) || is_confined_elsewhere(pipeline));
    must = must && clock_now() - pipeline->opened_at >= REOPEN_AFTER_MS;
    pthread_mutex_unlock(&pipeline->lock);
    return must;
}

void pipeline_begin_shutdown(struct pipeline *pipeline, moment deadline)
{
    pthread_mutex_lock(&pipeline->lock);
    pipeline->request_deadline = deadline;
    if (pipeline->stages.queue != NULL)
        queue_set_stop_deadline(pipeline->stages.queue, deadline);
    bool opened = pipeline->stages.queue != NULL;
    pthread_mutex_unlock(&pipeline->lock);
    if (!opened && pipeline->gate != NULL)
        gate_close(pipeline->gate);
}

/* Tells the thread to end, and waits for it. Returns whether it has. */
static bool end_thread(struct pipeline *pipeline, moment deadline)
{
    moment late = deadline + STOPPED_LATE_MS;
    pthread_mutex_lock(&pipeline->lock);
    pipeline->stopping = true;
    reconciler_request_stop(pipeline->reconciler);
    if (pipeline->stages.forwarder != NULL)
        forwarder_stop(pipeline->stages.forwarder, deadline);
    pthread_cond_broadcast(&pipeline->changed);
    while (!pipeline->ended && clock_now() < late)
        clock_condition_wait(&pipeline->changed, &pipeline->lock, late);
    bool ended = pipeline->ended;
    pthread_mutex_unlock(&pipeline->lock);
    if (!ended)
        pthread_detach(pipeline->thread); /* it ends with the process */
    return ended;
}

bool pipeline_stop(struct pipeline *pipeline, moment deadline)
{
    if (!end_thread(pipeline, deadline))
        return false;
    pthread_join(pipeline->thread, NULL);
    bool watch_ended = kept_watch_stop(pipeline->stages.watch);
    pipeline->stages.watch = NULL;
    if (!reconciler_stop(pipeline->reconciler, deadline + STOPPED_LATE_MS) || !watch_ended)
        return false;
    stages_close(&pipeline->stages);
    free_pipeline(pipeline);
    return true;
}
