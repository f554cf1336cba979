/* Reconciling: events that did not come by webhook are imported from the Event Log, in a run, in the thread of the
 * reconciler, or once for cron. */
#include "closeapi/reconcile_private.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/times.h"
#include "closeapi/closeapi.h"
#include "config/config.h"
#include "kept/kept.h"
#include "kept/keys.h"

/* ---- the subscriptions: a paused one looks like no traffic, so it is logged at ERROR ---- */

/* Logs what somebody must look at, and notes it in the state, unless something else was noted in this run. */
static void reconcile_note_trouble(struct reconcile_run *run, const char *happening,
                                   const struct subscription *subscription, const char *words)
{
    char quoted[LOG_QUOTED], error[LOG_QUOTED];
    if (!run->options->silent)
        log_write(LEVEL_ERROR, "msg=%s source=%s subscription=%s reason=%s latest_error=%s advice=\"%s\"", happening,
                  run->source->name, subscription->id,
                  log_quote(quoted, subscription->pause_reason, strlen(subscription->pause_reason)),
                  log_quote(error, subscription->latest_error, strlen(subscription->latest_error)), words);
    if (run->state.trouble[0] == '\0')
        snprintf(run->state.trouble, sizeof run->state.trouble, "subscription %s is %.20s%s%.60s%s: %s",
                 subscription->id, subscription_is_paused(subscription) ? "paused" : subscription->health,
                 subscription->pause_reason[0] != '\0' ? " (" : "", subscription->pause_reason,
                 subscription->pause_reason[0] != '\0' ? ")" : "", words);
}

/* Activates a subscription that Close has paused, if auto_resume = yes. Returns whether it is active now. */
static bool reconcile_resume_subscription(struct reconcile_run *run, const struct subscription *subscription)
{
    struct error why;
    if (run->source->auto_resume != ANSWER_YES)
        return false;
    if (subscriptions_set_status(run->client, subscription->id, "active", &why) != CLOSE_DONE) {
        log_write(LEVEL_ERROR, "msg=not_resumed source=%s subscription=%s reason=\"%s\"", run->source->name,
                  subscription->id, why.text);
        return false;
    }
    log_write(LEVEL_WARN, "msg=resumed source=%s subscription=%s", run->source->name, subscription->id);
    run->report->resumed = true;
    return true;
}

/* The values of health_status are not documented: those count that can only mean one thing. */
static bool is_subscription_healthy(const struct subscription *subscription)
{
    static const char *const bad[] = {"unhealthy", "fail", "error", "degraded", "critical"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (strcasestr(subscription->health, bad[i]) != NULL)
            return false;
    }
    return true;
}

static void reconcile_watch_subscription(struct reconcile_run *run, const struct subscription *subscription)
{
    bool paused = subscription_is_paused(subscription);
    if (paused && closeapi_paused_by_us(run->directory, subscription->id)) {
        run->was_paused = true;
        return;
    }
    if (paused) {
        run->was_paused = true;
        char advice[OWN_COMMAND + 50], line[OWN_COMMAND];
        snprintf(advice, sizeof advice, "%s activates it again and fills the gap",
                 own_command(line, run->config, run->source->name, "resume %s", subscription->id));
        bool resumed = reconcile_resume_subscription(run, subscription);
        run->state.paused = run->state.paused || !resumed;
        reconcile_note_trouble(run, resumed ? "subscription_was_paused" : "subscription_paused", subscription,
                               resumed ? "it was activated again, and the gap is being filled; see why Close paused it"
                                       : advice);
    } else if (!is_subscription_healthy(subscription)) {
        char advice[OWN_COMMAND + 50], line[OWN_COMMAND];
        snprintf(advice, sizeof advice, "deliveries fail: %s finds out why",
                 own_command(line, run->config, run->source->name, "send-test URL"));
        reconcile_note_trouble(run, "subscription_unhealthy", subscription, advice);
    }
}

/* Deliveries of a subscription without a key are refused; its events come by reconciling, later. */
static void reconcile_report_missing_key(struct reconcile_run *run, const struct subscription *keyless)
{
    struct error words = {0};
    coverage_keyless_words(keyless, run->source, &words);
    if (!run->options->silent)
        log_write(LEVEL_ERROR, "msg=key_missing source=%s subscription=%s advice=\"%s\"", run->source->name,
                  keyless->id, words.text);
    if (run->state.trouble[0] == '\0')
        snprintf(run->state.trouble, sizeof run->state.trouble, "%.511s", words.text);
}

static void reconcile_watch_subscriptions(struct reconcile_run *run)
{
    run->was_paused = run->state.paused;
    run->state.paused = false;
    run->state.trouble[0] = '\0';
    for (size_t i = 0; i < run->coverage.count; i++)
        reconcile_watch_subscription(run, run->coverage.at[i]);
    const struct subscription *keyless = coverage_keyless(&run->coverage, &run->list, run->source, &run->held);
    if (keyless != NULL && !run->is_subscribed_now)
        reconcile_report_missing_key(run, keyless);
}

static enum close_result reconcile_list_subscriptions(struct reconcile_run *run)
{
    bool changed = false;
    struct kept *lock = closeapi_lock(run->config, run->directory, "subscribe.lock", 0, NULL);
    run->is_subscribed_now = lock == NULL;
    enum close_result result = subscriptions_list(run->client, &run->list, run->why);
    if (result == CLOSE_DONE && lock != NULL) {
        const struct subscribing work = {run->config, run->source, run->client, run->directory, &run->list, lock};
        result = subscribe_recover(&work, &changed, run->why);
    }
    if (result == CLOSE_DONE && changed) {
        subscriptions_free(&run->list);
        result = subscriptions_list(run->client, &run->list, run->why);
    }
    kept_close(lock);
    if (result == CLOSE_DONE && run->list.date_ms == 0) {
        error_set(run->why,
                  "Close's answer does not say what time it is (Date): does something in between remove that header?");
        result = CLOSE_REFUSED;
    }
    run->now_ms = run->list.date_ms;
    return result;
}

/* ---- one run, from its lock to its report ---- */

/* One that is called off is trouble: whoever began it has the old key still. A subscription that Close has paused was
 * reported before. */
static void reconcile_report_rotation(struct reconcile_run *run, enum rotation_stage stage, const struct error *why)
{
    if (stage == ROTATION_OVER)
        snprintf(run->report->rotation, sizeof run->report->rotation,
                 "the rotation is over: the old subscription is removed");
    if (stage != ROTATION_CALLED_OFF && stage != ROTATION_HELD_UP)
        return;
    bool is_off = stage == ROTATION_CALLED_OFF;
    snprintf(run->report->rotation, sizeof run->report->rotation, "%.511s", why->text);
    if (is_off && run->state.trouble[0] == '\0')
        snprintf(run->state.trouble, sizeof run->state.trouble, "%.511s", why->text);
    if (!run->options->silent)
        log_write(LEVEL_WARN, "msg=%s source=%s advice=\"%s\"", is_off ? "rotation_called_off" : "rotation_held_up",
                  run->source->name, why->text);
}

static void reconcile_end_rotation(struct reconcile_run *run)
{
    struct error why = {0};
    enum rotation_stage stage;
    struct kept *lock = closeapi_lock(run->config, run->directory, "subscribe.lock", 0, NULL);
    if (lock == NULL)
        return;
    const struct subscribing work = {run->config, run->source, run->client, run->directory, &run->list, lock};
    if (rotation_go_on(&work, run->state.until_ms * 1000, &stage, &why) != CLOSE_DONE)
        log_write(LEVEL_WARN, "msg=rotation_not_ended source=%s reason=\"%s\"", run->source->name, why.text);
    else
        reconcile_report_rotation(run, stage, &why);
    kept_close(lock);
}

static enum reconcile_result reconcile_result_of(struct reconcile_run *run)
{
    unsigned long long hidden = run->report->counts.hidden + run->report->second.hidden;
    if (hidden > 0 && run->state.trouble[0] == '\0')
        snprintf(run->state.trouble, sizeof run->state.trouble,
                 "Close does not show this API key the data of %llu event%s, which %s not sent: use an "
                 "administrator's close_api_key",
                 hidden, text_plural(hidden), hidden == 1 ? "was" : "were");
    if (run->state.trouble[0] == '\0')
        return RECONCILE_DONE;
    error_set(run->why, "%s", run->state.trouble);
    return RECONCILE_TROUBLE;
}

static enum reconcile_result reconcile_with_client(struct reconcile_run *run)
{
    enum close_result listed = reconcile_list_subscriptions(run);
    if (listed != CLOSE_DONE)
        return listed == CLOSE_STOPPED ? RECONCILE_STOPPED : RECONCILE_FAILED;
    if (!kept_keys_read(run->config, &run->held, run->why))
        return RECONCILE_FAILED;
    bool found = coverage_find(&run->coverage, &run->list, run->source, run->config->sources, &run->held, run->why);
    if (!found && !run->options->all_events)
        return run->state.until_ms == 0 ? RECONCILE_NOTHING : RECONCILE_FAILED;
    if (!reconcile_set_types(run))
        return RECONCILE_FAILED;
    reconcile_watch_subscriptions(run);
    if (!reconcile_take_loss(run))
        return RECONCILE_FAILED;
    enum import_result result = reconcile_read_log(run);
    if (result != IMPORT_DONE)
        return result == IMPORT_STOPPED ? RECONCILE_STOPPED : RECONCILE_FAILED;
    if (!reconcile_end_loss(run))
        return RECONCILE_FAILED;
    reconcile_end_rotation(run);
    run->state.last_good_ms = clock_unix_ms();
    return reconcile_result_of(run);
}

static void reconcile_log_result(const struct reconcile_run *run, enum reconcile_result result)
{
    char from[DATE_PRINTED], to[DATE_PRINTED];
    const struct import_counts *counts = &run->report->counts;
    if (result == RECONCILE_NOTHING || result == RECONCILE_STOPPED)
        return;
    if (result == RECONCILE_FAILED && run->options->silent)
        return;
    if (result == RECONCILE_FAILED) {
        char quoted[LOG_QUOTED];
        log_write(LEVEL_ERROR, "msg=not_reconciled source=%s reason=%s", run->source->name,
                  log_quote_reason(quoted, run->why->text));
        return;
    }
    log_write(LEVEL_INFO, "msg=reconciled source=%s from=%s until=%s events=%llu known=%llu missing=%llu pages=%llu",
              run->source->name, times_print(run->report->from_us, DATE_MILLISECONDS, from),
              times_print(run->report->to_us, DATE_MILLISECONDS, to), (unsigned long long)counts->events,
              (unsigned long long)counts->known, (unsigned long long)counts->fresh, (unsigned long long)counts->pages);
}

static enum reconcile_result reconcile_locked(struct reconcile_run *run)
{
    struct error why;
    const struct close_options options = {.patience_ms = run->options->patience_ms, .stop_fd = run->options->stop_fd};
    if (!completeness_read(run->directory, &run->state, run->why))
        return RECONCILE_FAILED;
    run->client = close_client_new(run->config, run->source, &options, run->why);
    enum reconcile_result result = run->client == NULL ? RECONCILE_FAILED : reconcile_with_client(run);
    run->state.last_run_ms = clock_unix_ms();
    if (result == RECONCILE_FAILED)
        snprintf(run->state.trouble, sizeof run->state.trouble, "%.500s", run->why->text);
    if (!completeness_write(run->lock, run->directory, &run->state, &why))
        log_write(LEVEL_ERROR, "msg=not_noted source=%s reason=\"%s\"", run->source->name, why.text);
    reconcile_log_result(run, result);
    keyring_free(&run->held);
    subscriptions_free(&run->list);
    close_client_free(run->client);
    completeness_free(&run->state);
    return result;
}

enum reconcile_result closeapi_reconcile(const struct config *config, const struct source *source, struct queue *queue,
                                         const struct reconcile_options *options, struct reconcile_report *report,
                                         struct error *why)
{
    *report = (struct reconcile_report){0};
    struct reconcile_run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        error_set(why, "out of memory");
        return RECONCILE_FAILED;
    }
    run->config = config;
    run->source = source;
    run->queue = queue;
    run->options = options;
    run->report = report;
    run->why = why;
    enum reconcile_result result = RECONCILE_FAILED;
    if (closeapi_can_reconcile(config, source, why) && closeapi_directory(config, source, run->directory, why)) {
        run->lock = closeapi_lock(config, run->directory, "reconcile.lock", 0, why);
        bool is_due = !options->if_due || closeapi_due(config, source) <= clock_unix_ms(); /* another was at it */
        result = run->lock == NULL ? RECONCILE_BUSY : is_due ? reconcile_locked(run) : RECONCILE_NOTHING;
        kept_close(run->lock);
    }
    free(run);
    return result;
}

/* ---- the reconciler's thread, and the same for cron ---- */

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
    const struct reconcile_options options = {
        .stop_fd = stop_fd, .silent = silent, .if_due = true, .patience_ms = PATIENCE_MS};
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
