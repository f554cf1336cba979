/* Looking for causes of alerts: once a second in a thread of a process that lives long, once by cron. */
#ifndef HEALTH_ALERT_THREAD_H
#define HEALTH_ALERT_THREAD_H

#include "config/config.h"
#include "health/queue_view.h"

struct alert_thread;

/* Starts the thread where there is an alert_command or an alert_webhook_url. Both are borrowed and must outlive it.
 * Returns NULL where there is none, or no thread can be had, which is logged unless it was *said, and may be tried
 * again. */
struct alert_thread *alert_thread_start(const struct config *config, struct queue_view *view, bool *said);

/* Ends it: what is being told is not awaited. alerting may be NULL. */
void alert_thread_stop(struct alert_thread *alerting);

/* Looks once, unless a process that lives long does. Does nothing where nobody is to be told. */
void alert_thread_once(const struct config *config, const struct telemetry *telemetry);

#endif
