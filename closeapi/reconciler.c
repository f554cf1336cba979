/* The reconciler's thread, and the same for cron: see closeapi.h. */
#include "base/clock.h"
#include "base/log.h"
#include "closeapi/closeapi.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 60000
#define BUSY_MS 60000        /* between looks whether another process has finished */
#define BUSY_LONG_MS 1800000 /* after which it is logged that another process takes so long */
#define LATEST_MS 900000     /* the longest sleep, for the calendar's clock may jump */

struct reconciler {
    const struct config *config;
    moment began;
    moment said_busy; /* when a busy process was logged last; 0: never */
    pthread_t thread;
    int stop_fd;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ended;
};

bool reconciler_is_wanted(const struct config *config)
{
    for (size_t i = 0; i < config->sources; i++) {
        if (closeapi_due(config, &config->source[i]) != INT64_MAX)
            return true;
    }
    return false;
}

/* Reconciles a source, with a queue that is opened for this thread alone. */
static enum reconcile_result reconciler_run_one(const struct config *config, const struct source *source, int stop_fd,
                                                bool silent, struct error *why)
{
    struct reconcile_report report;
    const struct reconcile_options options = {.stop_fd = stop_fd, .silent = silent, .patience_ms = PATIENCE_MS};
    struct queue *queue = queue_open(config, why);
    if (queue == NULL) {
        if (!silent)
            log_write(LEVEL_ERROR, "msg=not_reconciled source=%s reason=\"%s\"", source->name, why->text);
        return RECONCILE_FAILED;
    }
    enum reconcile_result result = closeapi_reconcile(config, source, queue, &options, &report, why);
    queue_close(queue);
    return result;
}

/* Another process reconciles the source. That is logged only if that process is suspended or takes very long. */
static void reconciler_log_busy(struct reconciler *reconciler, const struct source *source, int64_t due,
                                const struct error *why)
{
    struct error words = {0};
    bool stopped = closeapi_is_stopped(reconciler->config, source, &words);
    moment now = clock_now();
    if (!stopped && (now - reconciler->began < BUSY_LONG_MS || clock_unix_ms() - due < BUSY_LONG_MS))
        return;
    if (reconciler->said_busy > 0 && now - reconciler->said_busy < BUSY_LONG_MS)
        return;
    reconciler->said_busy = now;
    log_write(LEVEL_WARN, "msg=not_reconciled source=%s reason=\"%s\"", source->name, stopped ? words.text : why->text);
}

/* Reconciles all sources that are due. Returns after how many milliseconds to look again. */
static int64_t reconciler_run_due(struct reconciler *reconciler)
{
    int64_t next = LATEST_MS;
    for (size_t i = 0; i < reconciler->config->sources; i++) {
        const struct source *source = &reconciler->config->source[i];
        struct error why;
        int64_t due = closeapi_due(reconciler->config, source);
        if (due == INT64_MAX)
            continue;
        if (due <= clock_unix_ms()) {
            enum reconcile_result result =
                reconciler_run_one(reconciler->config, source, reconciler->stop_fd, false, &why);
            if (result == RECONCILE_STOPPED)
                return 0;
            if (result == RECONCILE_BUSY)
                reconciler_log_busy(reconciler, source, due, &why);
            due = closeapi_due(reconciler->config, source);
            if (result == RECONCILE_BUSY || due <= clock_unix_ms()) /* the state could not be written */
                due = clock_unix_ms() + BUSY_MS;
        }
        int64_t left = due - clock_unix_ms();
        next = left < next ? left : next;
    }
    return next > 0 ? next : 0;
}

static void *reconciler_main(void *context)
{
    struct reconciler *reconciler = context;
    struct pollfd stop = {.fd = reconciler->stop_fd, .events = POLLIN};
    moment then;
    do
        then = clock_now() + reconciler_run_due(reconciler);
    while (poll(&stop, 1, clock_until(then)) <= 0);
    pthread_mutex_lock(&reconciler->lock);
    reconciler->ended = true;
    pthread_cond_signal(&reconciler->changed);
    pthread_mutex_unlock(&reconciler->lock);
    return NULL;
}

static void reconciler_free(struct reconciler *reconciler)
{
    if (reconciler->stop_fd >= 0)
        close(reconciler->stop_fd);
    pthread_cond_destroy(&reconciler->changed);
    pthread_mutex_destroy(&reconciler->lock);
    free(reconciler);
}

struct reconciler *reconciler_start(const struct config *config, struct error *why)
{
    struct reconciler *reconciler = calloc(1, sizeof *reconciler);
    if (reconciler == NULL) {
        error_set(why, "out of memory");
        return NULL;
    }
    reconciler->config = config;
    reconciler->began = clock_now();
    pthread_mutex_init(&reconciler->lock, NULL);
    clock_condition_init(&reconciler->changed);
    reconciler->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int error =
        reconciler->stop_fd < 0 ? errno : pthread_create(&reconciler->thread, NULL, reconciler_main, reconciler);
    if (error == 0)
        return reconciler;
    error_set(why, "cannot start a thread: %s", strerror(error));
    reconciler_free(reconciler);
    return NULL;
}

void reconciler_request_stop(struct reconciler *reconciler)
{
    uint64_t one = 1;
    ssize_t n = reconciler == NULL ? 0 : write(reconciler->stop_fd, &one, sizeof one);
    (void)n; /* EAGAIN: it is readable already */
}

bool reconciler_stop(struct reconciler *reconciler, moment deadline)
{
    if (reconciler == NULL)
        return true;
    reconciler_request_stop(reconciler);
    pthread_mutex_lock(&reconciler->lock);
    while (!reconciler->ended && clock_condition_wait(&reconciler->changed, &reconciler->lock, deadline))
        ;
    bool ended = reconciler->ended;
    pthread_mutex_unlock(&reconciler->lock);
    if (!ended) { /* it is left behind, with what it uses */
        pthread_detach(reconciler->thread);
        return false;
    }
    pthread_join(reconciler->thread, NULL);
    reconciler_free(reconciler);
    return true;
}

/* A descriptor that is readable from the deadline on; -1 when there is none to be had. */
static int deadline_descriptor(moment deadline)
{
    const struct itimerspec at = {
        .it_value = {.tv_sec = deadline / 1000, .tv_nsec = (long)(deadline % 1000) * 1000000 + 1}};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd >= 0 && timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

bool reconcile_due(const struct config *config, moment deadline,
                   void (*outcome)(void *context, const char *source, const char *words), void *context)
{
    bool any = false;
    int fd = deadline_descriptor(deadline);
    for (size_t i = 0; fd >= 0 && i < config->sources && clock_now() < deadline; i++) {
        const struct source *source = &config->source[i];
        struct error why = {0};
        if (closeapi_due(config, source) > clock_unix_ms())
            continue;
        enum reconcile_result result = reconciler_run_one(config, source, fd, true, &why);
        any = true;
        bool stopped = result == RECONCILE_BUSY && closeapi_is_stopped(config, source, &why);
        if (result == RECONCILE_FAILED || result == RECONCILE_TROUBLE || stopped)
            outcome(context, source->name, why.text);
        else if (result == RECONCILE_DONE || result == RECONCILE_NOTHING)
            outcome(context, source->name, NULL);
    }
    if (fd >= 0)
        close(fd);
    return any;
}
