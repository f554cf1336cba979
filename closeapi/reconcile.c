/* Reconciling: what the webhook did not bring, the Event Log does; and a look at the subscriptions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "closeapi/closeapi.h"
#include "closeapi/state.h"
#include "closeapi/subscribe.h"
#include "transform/dates.h"
#include "watch/clock.h"
#include "watch/log.h"

#define MINUTE_US (INT64_C(60) * 1000000)
#define DAY_US (24 * 60 * MINUTE_US)
#define OVERLAP_US (10 * MINUTE_US)  /* read again each time */
#define UNSETTLED_US (5 * MINUTE_US) /* Close still edits what is younger */
#define SECOND_US DAY_US             /* after this time it is read a second time */
#define BEYOND_US (30 * DAY_US)      /* Close has nothing older */

/* One run. */
struct run {
    const struct config *config;
    const struct source *source;
    struct queue *queue;
    const struct reconcile_options *options;
    struct reconcile_report *report;
    char directory[4096];
    struct close_client *client;
    struct subscriptions list;
    struct keyring held;
    struct coverage coverage;
    struct reconcile_state state;
    int64_t now_us;            /* Close's clock */
    bool was_paused;           /* a subscription was, since the last run */
    struct fill_counts before; /* of the last window */
    bool second;               /* this is the second reading */
    struct why *why;
};

/* ---- the subscriptions ---- */

/* Notes what somebody must look at; the first of a run stays. */
static void trouble(struct run *run, const char *happening, const struct subscription *subscription, const char *words)
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

/* Activates a subscription that Close has paused, where the operator wants that. */
static bool resume(struct run *run, const struct subscription *subscription)
{
    struct why why;
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

/* Close's words for it are not documented: those that can only mean one thing count. */
static bool is_healthy(const struct subscription *subscription)
{
    static const char *const bad[] = {"unhealthy", "fail", "error", "degraded", "critical"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (strcasestr(subscription->health, bad[i]) != NULL)
            return false;
    }
    return true;
}

static void watch_one(struct run *run, const struct subscription *subscription)
{
    bool paused = subscription_is_paused(subscription);
    if (paused && closeapi_paused_by_us(run->directory, subscription->id)) {
        run->was_paused = true;
        return;
    }
    if (paused) {
        run->was_paused = true;
        char advice[200];
        snprintf(advice, sizeof advice, "closecrm.fcgi resume %s activates it again and fills the gap",
                 subscription->id);
        bool resumed = resume(run, subscription);
        run->state.paused = run->state.paused || !resumed;
        trouble(run, resumed ? "subscription_was_paused" : "subscription_paused", subscription,
                resumed ? "it was activated again, and the gap is being filled; see why Close paused it" : advice);
    } else if (!is_healthy(subscription)) {
        trouble(run, "subscription_unhealthy", subscription,
                "deliveries fail: closecrm.fcgi send-test URL finds out why");
    }
}

static void watch_subscriptions(struct run *run)
{
    run->was_paused = run->state.paused;
    run->state.paused = false;
    run->state.trouble[0] = '\0';
    for (size_t i = 0; i < run->coverage.count; i++)
        watch_one(run, run->coverage.at[i]);
}

/* Lists them, and ends what a subscribe was killed in. */
static enum close_result list_subscriptions(struct run *run)
{
    bool changed = false;
    int lock = closeapi_lock(run->directory, "subscribe.lock", 0, NULL);
    enum close_result result = subscriptions_list(run->client, &run->list, run->why);
    if (result == CLOSE_DONE && lock >= 0) {
        const struct subscribing work = {run->config, run->source, run->client, run->directory, &run->list};
        result = subscribe_recover(&work, &changed, run->why);
    }
    if (result == CLOSE_DONE && changed) {
        subscriptions_free(&run->list);
        result = subscriptions_list(run->client, &run->list, run->why);
    }
    if (lock >= 0)
        close(lock);
    if (result == CLOSE_DONE && run->list.date_ms == 0) {
        why_set(run->why,
                "Close's answer does not say what time it is (Date): does something in between remove that header?");
        result = CLOSE_REFUSED;
    }
    run->now_us = run->list.date_ms * 1000;
    return result;
}

/* Takes out of `types` what it covers now. Returns false when memory is out. */
static bool set_types(struct run *run)
{
    struct buffer types = {0};
    if (!run->options->all_events)
        coverage_describe(&run->coverage, &types);
    buffer_append(&types, "", 1);
    if (types.failed) {
        buffer_free(&types);
        why_set(run->why, "out of memory");
        return false;
    }
    /* what is new is complete only from now on; what is gone makes the claim no less true */
    bool same = run->state.types == NULL || strcmp(run->state.types, types.data) == 0;
    if (!same && run->state.until_us > 0) {
        log_write(LEVEL_INFO, "msg=coverage_changed source=%s", run->source->name);
        run->state.since_us = run->state.until_us - OVERLAP_US;
    }
    free(run->state.types);
    run->state.types = types.data;
    return true;
}

/* ---- the log ---- */

/* The creation of the oldest subscription whose key we hold; 0: unknown. */
static int64_t first_creation_us(const struct run *run)
{
    int64_t first = 0;
    for (size_t i = 0; i < run->held.count; i++) {
        int64_t created = run->held.at[i].created_ms * 1000;
        if (strcmp(run->held.at[i].source, run->source->name) == 0 && created > 0 && (first == 0 || created < first))
            first = created;
    }
    return first;
}

/* Where the reading begins; also begins the claim, where there is none yet or Close has forgotten its end. */
static int64_t choose_start(struct run *run)
{
    int64_t oldest = run->now_us - BEYOND_US;
    if (run->state.until_us == 0) {
        int64_t created = first_creation_us(run);
        int64_t start = created > 0 ? created : run->now_us - DAY_US;
        run->state.since_us = run->state.until_us = run->state.verified_us = start > oldest ? start : oldest;
        return run->state.until_us;
    }
    if (run->state.until_us < oldest) {
        log_write(LEVEL_ERROR,
                  "msg=gap source=%s advice=\"nothing was reconciled for more than 30 days, and Close keeps no longer: "
                  "what was missed before is lost\"",
                  run->source->name);
        run->state.since_us = run->state.until_us = run->state.verified_us = oldest;
    }
    int64_t start = run->state.until_us - OVERLAP_US;
    return start > run->state.since_us ? start : run->state.since_us;
}

static bool tell(void *context, const struct fill_counts *counts, int64_t reached_us, struct why *why)
{
    const struct run *run = context;
    (void)why;
    if (run->options->progress != NULL)
        run->options->progress(run->options->context, counts, reached_us);
    return true;
}

/* Counts what the webhook missed in this window, and why. */
static void count_missed(struct run *run, const struct fill_counts *counts)
{
    uint64_t hidden = counts->hidden - run->before.hidden;
    uint64_t fresh = counts->fresh - run->before.fresh;
    uint64_t missed = fresh > hidden ? fresh - hidden : 0;
    uint64_t large = counts->large - run->before.large;
    large = large < missed ? large : missed;
    run->state.missed += missed;
    run->state.missed_large += large;
    if (run->was_paused && !run->second)
        run->state.missed_paused += missed - large;
    if (run->second)
        run->state.missed_late += missed;
    run->state.hidden += hidden;
    if (missed > 0)
        log_write(LEVEL_WARN, "msg=missed_by_the_webhook source=%s events=%llu large=%llu why=%s", run->source->name,
                  (unsigned long long)missed, (unsigned long long)large,
                  run->second       ? "late"
                  : run->was_paused ? "paused"
                  : large == missed ? "too_large"
                                    : "not_delivered");
}

static bool window_done(void *context, const struct fill_counts *counts, int64_t until_us, struct why *why)
{
    struct run *run = context;
    count_missed(run, counts);
    bool hole = counts->hidden > run->before.hidden;
    run->before = *counts;
    if (run->second)
        run->state.verified_us = until_us;
    else if (until_us > run->state.until_us)
        run->state.until_us = until_us;
    if (hole && until_us > run->state.since_us)
        run->state.since_us = until_us; /* what came before is not complete */
    return reconcile_state_write(run->directory, &run->state, why);
}

static enum log_result read_log(struct run *run, int64_t from_us, int64_t to_us, struct fill_counts *counts)
{
    const struct fill_order order = {
        .config = run->config,
        .source = run->source,
        .client = run->client,
        .queue = run->queue,
        .coverage = &run->coverage,
        .all_events = run->options->all_events,
        .count_waiting = true,
        .stop_fd = run->options->stop_fd,
        .progress = tell,
        .context = run,
    };
    if (from_us >= to_us)
        return LOG_DONE;
    struct fill *fill = fill_new(&order, run->directory, run->why);
    if (fill == NULL)
        return LOG_FAILED;
    run->before = (struct fill_counts){0};
    enum log_result result = fill_range(fill, from_us, to_us, window_done, run, run->why);
    *counts = *fill_counted(fill);
    fill_free(fill);
    return result;
}

/* What was read a day ago is read again: Close may have shown something late. */
static enum log_result read_second(struct run *run)
{
    int64_t to = run->now_us - SECOND_US;
    to = to < run->state.until_us ? to : run->state.until_us;
    /* what was delivered a day ago must still be known */
    if (to <= run->state.verified_us || run->config->dedupe_window_ms * 1000 < 2 * SECOND_US)
        return LOG_DONE;
    int64_t from = run->state.verified_us - OVERLAP_US;
    from = from > run->state.since_us ? from : run->state.since_us;
    run->second = true;
    enum log_result result = read_log(run, from, to, &run->report->second);
    run->second = false;
    return result;
}

static enum log_result read_all(struct run *run)
{
    int64_t from = choose_start(run), to = run->now_us - UNSETTLED_US;
    run->report->from_us = from;
    run->report->to_us = to > from ? to : from;
    enum log_result result = read_log(run, from, to, &run->report->counts);
    return result == LOG_DONE ? read_second(run) : result;
}

/* ---- the run ---- */

static void go_on_with_rotation(struct run *run)
{
    struct why why = {""};
    int lock = closeapi_lock(run->directory, "subscribe.lock", 0, NULL);
    if (lock < 0)
        return;
    const struct subscribing work = {run->config, run->source, run->client, run->directory, &run->list};
    if (rotation_go_on(&work, run->state.until_us, &run->report->rotated, &why) != CLOSE_DONE)
        log_write(LEVEL_WARN, "msg=rotation_not_ended source=%s reason=\"%s\"", run->source->name, why.text);
    close(lock);
}

static enum reconcile_result end_of(struct run *run)
{
    unsigned long long hidden = run->report->counts.hidden + run->report->second.hidden;
    if (hidden > 0 && run->state.trouble[0] == '\0')
        snprintf(run->state.trouble, sizeof run->state.trouble,
                 "Close does not show this API key the data of %llu events, which were not sent: use an "
                 "administrator's close_api_key",
                 hidden);
    if (run->state.trouble[0] == '\0')
        return RECONCILE_DONE;
    why_set(run->why, "%s", run->state.trouble);
    return RECONCILE_TROUBLE;
}

static enum reconcile_result work_on(struct run *run)
{
    enum close_result listed = list_subscriptions(run);
    if (listed != CLOSE_DONE)
        return listed == CLOSE_STOPPED ? RECONCILE_STOPPED : RECONCILE_FAILED;
    if (!keyring_read(run->config->state_dir, &run->held, run->why))
        return RECONCILE_FAILED;
    bool found = coverage_find(&run->coverage, &run->list, run->source, run->config->sources, &run->held, run->why);
    if (!found && !run->options->all_events)
        return run->state.until_us == 0 ? RECONCILE_NOTHING : RECONCILE_FAILED;
    if (!set_types(run))
        return RECONCILE_FAILED;
    watch_subscriptions(run);
    enum log_result result = read_all(run);
    if (result != LOG_DONE)
        return result == LOG_STOPPED ? RECONCILE_STOPPED : RECONCILE_FAILED;
    go_on_with_rotation(run);
    run->state.last_good_ms = clock_unix_ms();
    return end_of(run);
}

static void report_run(const struct run *run, enum reconcile_result result)
{
    char from[DATE_PRINTED], to[DATE_PRINTED];
    const struct fill_counts *counts = &run->report->counts;
    if (result == RECONCILE_NOTHING || result == RECONCILE_STOPPED)
        return;
    if (result == RECONCILE_FAILED && run->options->silent)
        return;
    if (result == RECONCILE_FAILED) {
        char quoted[LOG_QUOTED];
        log_write(LEVEL_ERROR, "msg=not_reconciled source=%s reason=%s", run->source->name,
                  log_quote(quoted, run->why->text, strlen(run->why->text)));
        return;
    }
    log_write(LEVEL_INFO, "msg=reconciled source=%s from=%s until=%s events=%llu known=%llu missing=%llu pages=%llu",
              run->source->name, date_print(run->report->from_us, DATE_MILLISECONDS, from),
              date_print(run->report->to_us, DATE_MILLISECONDS, to), (unsigned long long)counts->events,
              (unsigned long long)counts->known, (unsigned long long)counts->fresh, (unsigned long long)counts->pages);
}

static enum reconcile_result reconcile_locked(struct run *run)
{
    struct why why;
    const struct close_options options = {.patience_ms = run->options->patience_ms, .stop_fd = run->options->stop_fd};
    if (!reconcile_state_read(run->directory, &run->state, run->why))
        return RECONCILE_FAILED;
    run->client = close_client_new(run->config, run->source, &options, run->why);
    enum reconcile_result result = run->client == NULL ? RECONCILE_FAILED : work_on(run);
    run->state.last_run_ms = clock_unix_ms();
    if (result == RECONCILE_FAILED)
        snprintf(run->state.trouble, sizeof run->state.trouble, "%.500s", run->why->text);
    if (!reconcile_state_write(run->directory, &run->state, &why))
        log_write(LEVEL_ERROR, "msg=not_noted source=%s reason=\"%s\"", run->source->name, why.text);
    report_run(run, result);
    keyring_free(&run->held);
    subscriptions_free(&run->list);
    close_client_free(run->client);
    reconcile_state_free(&run->state);
    return result;
}

enum reconcile_result closeapi_reconcile(const struct config *config, const struct source *source, struct queue *queue,
                                         const struct reconcile_options *options, struct reconcile_report *report,
                                         struct why *why)
{
    *report = (struct reconcile_report){0};
    struct run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        why_set(why, "out of memory");
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
        int lock = closeapi_lock(run->directory, "reconcile.lock", 0, why);
        result = lock < 0 ? RECONCILE_BUSY : reconcile_locked(run);
        if (lock >= 0)
            close(lock);
    }
    free(run);
    return result;
}
