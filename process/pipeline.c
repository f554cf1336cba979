/* The stages of a process that lives long: see pipeline.h. */
#include "process/pipeline.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "closeapi/reconciler.h"
#include "forward/forward.h"
#include "queue/inspect.h"
#include "telemetry/telemetry.h"

#define OPEN_AGAIN_MS 2000   /* between tries to open the queue */
#define SAY_AGAIN_MS 60000   /* between log lines about the same reason */
#define REOPEN_AFTER_MS 5000 /* a queue that was opened just now is not opened anew at once */
#define STOPPED_LATE_MS 200  /* what the thread may take beyond its deadline */

struct service {
    const struct config *config;
    struct gate *gate; /* NULL: no webhooks are taken */
    pthread_t thread;
    pthread_mutex_t lock; /* over what follows */
    pthread_cond_t changed;
    bool stopping;
    bool ended; /* the thread has nothing left to do */
    moment stop_deadline;
    moment hurry_deadline; /* MOMENT_NEVER: no hurry */
    moment stood_at;       /* when the stages stood; MOMENT_NEVER: they do not */
    struct queue *queue;   /* set once they stand, as the other two */
    struct webhook *webhook;
    struct forwarder *forwarder;
    struct watchers watchers;
    struct reconciler *reconciler; /* NULL: nothing is to be reconciled by itself */
    bool reconciler_failed;        /* to start: it is tried again */
};

/* The stages while they are being opened. */
struct stages {
    struct queue *queue;
    struct webhook *webhook;
    struct forwarder *forwarder;
    struct watchers watchers;
};

static void stages_close(struct stages *stages)
{
    forwarder_free(stages->forwarder);
    webhook_free(stages->webhook);
    if (stages->queue != NULL)
        queue_close(stages->queue);
    watching_close(&stages->watchers);
}

static bool stages_open(struct stages *stages, const struct service *service, struct error *why)
{
    *stages = (struct stages){.queue = queue_open(service->config, why)};
    bool good = stages->queue != NULL;
    if (good)
        watching_open(&stages->watchers, service->config);
    if (good && service->gate != NULL) {
        stages->webhook = webhook_new(service->config, stages->queue, why);
        good = stages->webhook != NULL;
    }
    if (good) {
        stages->forwarder = forwarder_new(service->config, stages->queue, why);
        good = stages->forwarder != NULL;
    }
    if (good)
        forwarder_watch(stages->forwarder, &stages->watchers);
    if (stages->webhook != NULL)
        webhook_count(stages->webhook, stages->watchers.counters);
    if (!good)
        stages_close(stages);
    return good;
}

/* Makes the stages known to the other threads. Returns false when the process stops already. */
static bool stand(struct service *service, const struct stages *stages)
{
    pthread_mutex_lock(&service->lock);
    bool on = !service->stopping;
    service->queue = stages->queue;
    service->webhook = stages->webhook;
    service->forwarder = stages->forwarder;
    service->watchers = stages->watchers;
    service->stood_at = clock_now();
    if (service->hurry_deadline != MOMENT_NEVER)
        queue_hurry(stages->queue, service->hurry_deadline);
    pthread_mutex_unlock(&service->lock);
    if (service->gate != NULL) {
        status_attach(service->gate->status, &stages->watchers);
        gate_open(service->gate, stages->webhook);
    }
    return on;
}

/* Sleeps before the next try of anything. Returns false when the process is to stop. */
static bool pause_a_while(struct service *service)
{
    moment until = clock_now() + OPEN_AGAIN_MS;
    struct timespec t = {.tv_sec = until / 1000, .tv_nsec = (long)(until % 1000) * 1000000};
    pthread_mutex_lock(&service->lock);
    while (!service->stopping && clock_now() < until)
        pthread_cond_timedwait(&service->changed, &service->lock, &t);
    bool on = !service->stopping;
    pthread_mutex_unlock(&service->lock);
    return on;
}

/* Logs why it cannot be opened: the first time, when the reason is another one, and now and then. */
static void say(const struct error *why, struct error *said, moment *said_at)
{
    char words[LOG_QUOTED];
    moment now = clock_now();
    if (strcmp(why->text, said->text) == 0 && now - *said_at < SAY_AGAIN_MS)
        return;
    *said = *why;
    *said_at = now;
    log_write(LEVEL_ERROR,
              "msg=cannot_open_queue next_seconds=%d advice=\"requests are answered 503 until it can be\" "
              "reason=%s",
              OPEN_AGAIN_MS / 1000, log_quote(words, why->text, strlen(why->text)));
}

/* The queue was `sqlite` before, and is `none` now. */
static void warn_of_left_behind(const struct config *config)
{
    uint64_t waiting;
    struct error why = {0};
    char words[LOG_QUOTED];
    if (!queue_left_behind(config, &waiting, &why))
        log_write(LEVEL_WARN, "msg=queue_not_used state_dir=\"%s\" advice=\"closecrm.fcgi check\" reason=%s",
                  config->state_dir, log_quote(words, why.text, strlen(why.text)));
    else if (waiting > 0)
        log_write(LEVEL_WARN,
                  "msg=queue_not_used state_dir=\"%s\" waiting=%llu advice=\"with queue = none nothing delivers them: "
                  "set queue = sqlite until they are delivered\"",
                  config->state_dir, (unsigned long long)waiting);
}

/* Until the stages stand. Returns false when the process is to stop. */
static bool open_until_they_stand(struct service *service)
{
    struct stages stages;
    struct error why = {0}, said = {0};
    char library[QUEUE_LIBRARY];
    moment said_at = 0;
    while (!stages_open(&stages, service, &why)) {
        say(&why, &said, &said_at);
        if (service->gate != NULL)
            gate_close(service->gate);
        if (!pause_a_while(service))
            return false;
    }
    if (said.text[0] != '\0')
        log_write(LEVEL_INFO, "msg=queue_opened");
    queue_library(service->config, library);
    if (library[0] != '\0')
        log_write(LEVEL_INFO, "msg=queue_library version=\"%s\"", library);
    warn_of_left_behind(service->config);
    return stand(service, &stages);
}

/* Without it webhooks and forwarding go on. */
static void start_reconciler(struct service *service)
{
    struct error why = {0};
    if (!reconciler_is_wanted(service->config))
        return;
    pthread_mutex_lock(&service->lock);
    if (service->reconciler == NULL && !service->stopping)
        service->reconciler = reconciler_start(service->config, &why);
    if (service->reconciler == NULL && !service->stopping && !service->reconciler_failed)
        log_write(LEVEL_ERROR, "msg=does_not_reconcile reason=\"%s\" advice=\"it is tried again\"", why.text);
    service->reconciler_failed = service->reconciler == NULL;
    pthread_mutex_unlock(&service->lock);
}

void service_tend(struct service *service)
{
    pthread_mutex_lock(&service->lock);
    bool again = service->reconciler_failed;
    pthread_mutex_unlock(&service->lock);
    if (again)
        start_reconciler(service);
}

static void *run(void *context)
{
    struct service *service = context;
    bool on = open_until_they_stand(service);
    if (on)
        start_reconciler(service);
    while (on && !forwarder_run(service->forwarder, FORWARD_UNTIL_STOPPED, MOMENT_NEVER))
        on = pause_a_while(service);
    pthread_mutex_lock(&service->lock);
    service->ended = true;
    pthread_cond_broadcast(&service->changed);
    pthread_mutex_unlock(&service->lock);
    return NULL;
}

static void destroy(struct service *service)
{
    pthread_cond_destroy(&service->changed);
    pthread_mutex_destroy(&service->lock);
    free(service);
}

struct service *service_start(const struct config *config, struct gate *gate, struct error *why)
{
    pthread_condattr_t monotonic;
    struct service *service = calloc(1, sizeof *service);
    if (service == NULL) {
        error_set(why, "out of memory");
        return NULL;
    }
    service->config = config;
    service->gate = gate;
    service->hurry_deadline = service->stood_at = MOMENT_NEVER;
    pthread_mutex_init(&service->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&service->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int error = pthread_create(&service->thread, NULL, run, service);
    if (error == 0)
        return service;
    error_set(why, "cannot start a thread: %s", strerror(error));
    destroy(service);
    return NULL;
}

bool service_must_reopen(struct service *service)
{
    pthread_mutex_lock(&service->lock);
    bool stood = service->queue != NULL && clock_now() - service->stood_at >= REOPEN_AFTER_MS;
    bool must = stood && queue_must_reopen(service->queue);
    pthread_mutex_unlock(&service->lock);
    return must;
}

void service_hurry(struct service *service, moment deadline)
{
    pthread_mutex_lock(&service->lock);
    service->hurry_deadline = deadline;
    if (service->queue != NULL)
        queue_hurry(service->queue, deadline);
    bool stands = service->queue != NULL;
    pthread_mutex_unlock(&service->lock);
    if (!stands && service->gate != NULL)
        gate_close(service->gate);
}

/* Tells the thread to end, and waits for it. Returns whether it has. */
static bool end_thread(struct service *service, moment deadline)
{
    moment late = deadline + STOPPED_LATE_MS;
    struct timespec t = {.tv_sec = late / 1000, .tv_nsec = (long)(late % 1000) * 1000000};
    pthread_mutex_lock(&service->lock);
    service->stopping = true;
    reconciler_hurry(service->reconciler);
    if (service->forwarder != NULL)
        forwarder_stop(service->forwarder, deadline);
    pthread_cond_broadcast(&service->changed);
    while (!service->ended && clock_now() < late)
        pthread_cond_timedwait(&service->changed, &service->lock, &t);
    bool ended = service->ended;
    pthread_mutex_unlock(&service->lock);
    if (!ended)
        pthread_detach(service->thread); /* it ends with the process */
    return ended;
}

bool service_stop(struct service *service, moment deadline)
{
    if (!end_thread(service, deadline))
        return false;
    pthread_join(service->thread, NULL);
    if (!reconciler_stop(service->reconciler, deadline + STOPPED_LATE_MS))
        return false;
    stages_close(&(struct stages){service->queue, service->webhook, service->forwarder, service->watchers});
    destroy(service);
    return true;
}
