/* Looking for causes of alerts: once a second in a thread of a process that lives long, once by cron. */
#ifndef HEALTH_ALERT_THREAD_H
#define HEALTH_ALERT_THREAD_H

#include "config/config.h"
#include "health/queue_view.h"

struct alerting;

/* Starts the thread where there is an alert_command. Both are borrowed and must outlive it. Returns NULL where there is
 * none, or no thread can be had, which is logged unless it was *said, and may be tried again. */
struct alerting *alerting_start(const struct config *config, struct look *look, bool *said);

/* Ends it; a command that runs is awaited. alerting may be NULL. */
void alerting_stop(struct alerting *alerting);

/* Looks once, unless a process that lives long does. Does nothing where there is no alert_command. */
void alerting_once(const struct config *config, const struct watchers *watchers);

#endif
