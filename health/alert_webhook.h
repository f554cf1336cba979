/* Posting an alert to a web address, which is a secret: only its host is ever shown. What is posted goes to others than
 * the log: it has the cause in the program's own words and counts, and nothing that the data plane or an event said. */
#ifndef HEALTH_ALERT_WEBHOOK_H
#define HEALTH_ALERT_WEBHOOK_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/error.h"
#include "health/alert.h"

/* Posts its JSON, with the brief words: certificates are verified, redirects are not followed. Returns false with the
 * reason unless it was answered 2xx within ten seconds. Once hurry (may be NULL) is set it is given up within a
 * fraction of a second, also while a name server hangs. certificates: as in http_options. */
bool alert_webhook_post(const char *url, const char *certificates, const struct alert *alert, const atomic_bool *hurry,
                        struct error *why);

#endif
