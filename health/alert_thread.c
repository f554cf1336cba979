/* Looking for causes of alerts: see alert_thread.h. */
#include "health/alert_thread.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "health/alerts.h"

#define LOOK_MS 1000 /* between looks */

struct alerting {
    const struct config *config;
    struct look *look;
    struct alerts *alerts;
    int64_t since_ms;
    pthread_t thread;
    pthread_mutex_t lock; /* over ending */
    pthread_cond_t changed;
    bool ending;
};

static struct alerts *alerts_of(const struct config *config)
{
    return alerts_new(config->alert_command.at, config->alert_interval_ms,
                      config->queue == QUEUE_SQLITE ? config->state_dir : NULL);
}

static void look_once(struct alerts *alerts, struct look *look, int64_t since_ms)
{
    struct alert_causes causes = {0};
    struct facts *facts = look_facts(look);
    if (facts != NULL) {
        facts->watching_since_ms = since_ms;
        if (alerts_find_causes(facts, &causes))
            alerts_look(alerts, causes.at, causes.count, facts->now_ms);
    }
    alerts_free_causes(&causes);
    facts_free(facts);
}

/* Returns false when it is to end. */
static bool wait_a_while(struct alerting *alerting)
{
    moment until = clock_now() + LOOK_MS;
    struct timespec t = {.tv_sec = until / 1000, .tv_nsec = (long)(until % 1000) * 1000000};
    pthread_mutex_lock(&alerting->lock);
    while (!alerting->ending && clock_now() < until)
        pthread_cond_timedwait(&alerting->changed, &alerting->lock, &t);
    bool on = !alerting->ending;
    pthread_mutex_unlock(&alerting->lock);
    return on;
}

static void *run(void *context)
{
    struct alerting *alerting = context;
    while (wait_a_while(alerting)) {
        if (alerts_own(alerting->alerts))
            look_once(alerting->alerts, alerting->look, alerting->since_ms);
    }
    return NULL;
}

static void destroy(struct alerting *alerting)
{
    pthread_cond_destroy(&alerting->changed);
    pthread_mutex_destroy(&alerting->lock);
    alerts_free(alerting->alerts);
    free(alerting);
}

struct alerting *alerting_start(const struct config *config, struct look *look, bool *said)
{
    pthread_condattr_t monotonic;
    struct alerting *alerting = config->alert_command.count == 0 ? NULL : calloc(1, sizeof *alerting);
    if (alerting == NULL)
        return NULL;
    alerting->config = config;
    alerting->look = look;
    alerting->since_ms = clock_unix_ms();
    alerting->alerts = alerts_of(config);
    pthread_mutex_init(&alerting->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&alerting->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int error = alerting->alerts == NULL ? -1 : pthread_create(&alerting->thread, NULL, run, alerting);
    if (error == 0)
        return alerting;
    if (!*said)
        log_write(LEVEL_ERROR, "msg=no_alerts reason=\"%s\"", error < 0 ? "out of memory" : strerror(error));
    *said = true;
    destroy(alerting);
    return NULL;
}

void alerting_stop(struct alerting *alerting)
{
    if (alerting == NULL)
        return;
    pthread_mutex_lock(&alerting->lock);
    alerting->ending = true;
    pthread_cond_signal(&alerting->changed);
    pthread_mutex_unlock(&alerting->lock);
    alerts_hurry(alerting->alerts);
    pthread_join(alerting->thread, NULL);
    destroy(alerting);
}

void alerting_once(const struct config *config, const struct watchers *watchers)
{
    struct look look;
    struct alerts *alerts = config->alert_command.count == 0 ? NULL : alerts_of(config);
    if (alerts == NULL)
        return;
    look_init(&look, config);
    look.watchers = *watchers;
    if (alerts_own(alerts))
        look_once(alerts, &look, 0);
    look_free(&look);
    alerts_free(alerts);
}
