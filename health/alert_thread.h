/* Looking for causes of alerts: once a second in a thread of a process that lives long, once by cron. */
#ifndef HEALTH_ALERT_THREAD_H
#define HEALTH_ALERT_THREAD_H

#include "config/config.h"
#include "health/queue_view.h"

struct alert_thread;

/* Starts the thread where there is an alert_command. Both are borrowed and must outlive it. Returns NULL where there is
 * none, or no thread can be had, which is logged unless it was *said, and may be tried again. */
struct alert_thread *alert_thread_start(const struct config *config, struct queue_view *view, bool *said);

/* Ends it; a command that runs is awaited. alerting may be NULL. */
void alert_thread_stop(struct alert_thread *alerting);

/* Looks once, unless a process that lives long does. Does nothing where there is no alert_command. */
void alert_thread_once(const struct config *config, const struct telemetry *telemetry);

#endif
