/* Posting an alert to a web address, which is a secret: only its host is ever shown. What is posted goes to others than
 * the log: it has the cause in the program's own words and counts, and nothing that the data plane or an event said. */
#ifndef HEALTH_ALERT_WEBHOOK_H
#define HEALTH_ALERT_WEBHOOK_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"
#include "health/alert_command.h"

/* Appends what is posted: one JSON object. `text` says all of it in a sentence, which is what chat services show.
 * Returns false when memory is out. */
bool alert_webhook_json(const struct alert *alert, struct buffer *out);

/* Posts it: certificates are verified, redirects are not followed. Returns false with the reason unless it was answered
 * 2xx within ten seconds. Once hurry (may be NULL) is set it is given up within a fraction of a second, also while a
 * name server hangs. certificates: as in http_options. */
bool alert_webhook_post(const char *url, const char *certificates, const struct alert *alert, const atomic_bool *hurry,
                        struct error *why);

#endif
