/* Looking for causes of alerts: see alerts.h. */
#include "health/alerts.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "kept/kept.h"

#define LOOK_MS 1000 /* between looks */

struct alert_thread {
    const struct config *config;
    struct queue_view *view;
    struct alerts *alerts;
    int64_t since_ms;
    pthread_t thread;
    pthread_mutex_t lock; /* over ending */
    pthread_cond_t changed;
    bool ending;
};

static struct alerts *new_alerts(const struct config *config)
{
    const struct alert_ways ways = alert_ways_of(config);
    struct alerts *alerts = alerts_new(&ways, config->alert_interval_ms, config_state_dir(config));
    if (alerts != NULL && kept_is_shared(config))
        alerts_share(alerts, config);
    return alerts;
}

static bool tells_somebody(const struct config *config)
{
    const struct alert_ways ways = alert_ways_of(config);
    return alert_ways_all(&ways) != 0;
}

static void evaluate_once(struct alerts *alerts, struct queue_view *view, int64_t since_ms)
{
    struct alert_causes causes = {0};
    struct facts *facts = queue_view_facts(view, true);
    if (facts != NULL) {
        facts->watching_since_ms = since_ms;
        if (alerts_find_causes(facts, &causes))
            alerts_evaluate(alerts, causes.at, causes.count, facts->now_ms);
    }
    alerts_free_causes(&causes);
    facts_free(facts);
}

/* Returns false when it is to end. */
static bool wait_for_next_look(struct alert_thread *alerting)
{
    moment until = clock_now() + LOOK_MS;
    pthread_mutex_lock(&alerting->lock);
    while (!alerting->ending && clock_now() < until)
        clock_condition_wait(&alerting->changed, &alerting->lock, until);
    bool on = !alerting->ending;
    pthread_mutex_unlock(&alerting->lock);
    return on;
}

static void *run_alert_thread(void *context)
{
    struct alert_thread *alerting = context;
    while (wait_for_next_look(alerting)) {
        if (alerts_claim(alerting->alerts))
            evaluate_once(alerting->alerts, alerting->view, alerting->since_ms);
    }
    return NULL;
}

static void free_alert_thread(struct alert_thread *alerting)
{
    pthread_cond_destroy(&alerting->changed);
    pthread_mutex_destroy(&alerting->lock);
    alerts_free(alerting->alerts);
    free(alerting);
}

struct alert_thread *alert_thread_start(const struct config *config, struct queue_view *view, bool *said)
{
    struct alert_thread *alerting = tells_somebody(config) ? calloc(1, sizeof *alerting) : NULL;
    if (alerting == NULL)
        return NULL;
    alerting->config = config;
    alerting->view = view;
    alerting->since_ms = clock_unix_ms();
    alerting->alerts = new_alerts(config);
    pthread_mutex_init(&alerting->lock, NULL);
    clock_condition_init(&alerting->changed);
    int error = alerting->alerts == NULL ? -1 : pthread_create(&alerting->thread, NULL, run_alert_thread, alerting);
    if (error == 0)
        return alerting;
    if (!*said)
        log_write(LEVEL_ERROR, "msg=no_alerts reason=\"%s\"", error < 0 ? "out of memory" : strerror(error));
    *said = true;
    free_alert_thread(alerting);
    return NULL;
}

void alert_thread_stop(struct alert_thread *alerting)
{
    if (alerting == NULL)
        return;
    pthread_mutex_lock(&alerting->lock);
    alerting->ending = true;
    pthread_cond_signal(&alerting->changed);
    pthread_mutex_unlock(&alerting->lock);
    alerts_abandon(alerting->alerts);
    pthread_join(alerting->thread, NULL);
    free_alert_thread(alerting);
}

void alert_thread_once(const struct config *config, const struct telemetry *telemetry)
{
    struct queue_view view;
    struct alerts *alerts = tells_somebody(config) ? new_alerts(config) : NULL;
    if (alerts == NULL)
        return;
    queue_view_init(&view, config);
    view.telemetry = *telemetry;
    if (alerts_claim(alerts))
        evaluate_once(alerts, &view, 0);
    queue_view_free(&view);
    alerts_free(alerts);
}
