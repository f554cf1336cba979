/* The ways in which somebody is told of a cause: a command, and a POST to a web address. */
#ifndef HEALTH_ALERT_SEND_H
#define HEALTH_ALERT_SEND_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/error.h"
#include "config/config.h"
#include "health/alert.h"

/* One bit each. */
enum alert_way { ALERT_BY_COMMAND = 1, ALERT_BY_WEBHOOK = 2 };
#define ALERT_WAYS 2

/* All borrowed. */
struct alert_ways {
    char *const *command;     /* words for execv, a NULL behind them; NULL, or no words: there is none */
    const char *webhook_url;  /* NULL: there is none */
    const char *certificates; /* as in http_options */
};

struct alert_ways alert_ways_of(const struct config *config);

/* Which there are, as bits. */
unsigned alert_ways_all(const struct alert_ways *ways);

/* Tells by one way, and waits for that, ten seconds at most. hurry (may be NULL): once it is set it is not awaited: the
 * command goes on by itself, the POST is given up and has failed. Returns false with the reason, which names the host
 * only. Without that way returns true. */
bool alert_send(const struct alert_ways *ways, enum alert_way way, const struct alert *alert, const atomic_bool *hurry,
                struct error *why);

#endif
