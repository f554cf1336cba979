/* Reconciling: a look at the source's subscriptions. A paused one looks like a quiet day, so it is shouted. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "closeapi/reconcile_private.h"

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

/* What it sends is refused; its events are fetched here, later. */
static void miss_key(struct run *run, const struct subscription *keyless)
{
    struct error words = {0};
    coverage_keyless_words(keyless, run->source, &words);
    if (!run->options->silent)
        log_write(LEVEL_ERROR, "msg=key_missing source=%s subscription=%s advice=\"%s\"", run->source->name,
                  keyless->id, words.text);
    if (run->state.trouble[0] == '\0')
        snprintf(run->state.trouble, sizeof run->state.trouble, "%s", words.text);
}

void run_watch_subscriptions(struct run *run)
{
    run->was_paused = run->state.paused;
    run->state.paused = false;
    run->state.trouble[0] = '\0';
    for (size_t i = 0; i < run->coverage.count; i++)
        watch_one(run, run->coverage.at[i]);
    const struct subscription *keyless = coverage_keyless(&run->coverage, &run->list, run->source, &run->held);
    if (keyless != NULL)
        miss_key(run, keyless);
}

enum close_result run_list_subscriptions(struct run *run)
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
        error_set(run->why,
                  "Close's answer does not say what time it is (Date): does something in between remove that header?");
        result = CLOSE_REFUSED;
    }
    run->now_us = run->list.date_ms * 1000;
    return result;
}
