/* The ways of an alert: see alert_send.h. */
#include "health/alert_send.h"

#include <stddef.h>

#include "health/alert_command.h"
#include "health/alert_webhook.h"

struct alert_ways alert_ways_of(const struct config *config)
{
    return (struct alert_ways){.command = config->alert_command.count > 0 ? config->alert_command.at : NULL,
                               .webhook_url = config->alert_webhook_url,
                               .certificates = config_certificates(config)};
}

unsigned alert_ways_all(const struct alert_ways *ways)
{
    unsigned all = ways->command != NULL && ways->command[0] != NULL ? ALERT_BY_COMMAND : 0;
    return all | (ways->webhook_url != NULL ? ALERT_BY_WEBHOOK : 0);
}

bool alert_send(const struct alert_ways *ways, enum alert_way way, const struct alert *alert, const atomic_bool *hurry,
                struct error *why)
{
    if ((alert_ways_all(ways) & way) == 0)
        return true;
    if (way == ALERT_BY_COMMAND)
        return alert_command_run(ways->command, alert, hurry, why);
    return alert_webhook_post(ways->webhook_url, ways->certificates, alert, hurry, why);
}
