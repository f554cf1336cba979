/* alert-test: tells somebody that this is a test, by every way that is configured, and says what became of it. */
#include "commands/commands.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/escape.h"
#include "commands/check_alerts.h"
#include "commands/options.h"
#include "config/config.h"
#include "health/alert_send.h"

#define WORDS "this is a test by `closecrm.fcgi alert-test`: nothing is wrong"

/* Returns whether it could be told. */
static bool try_way(const struct alert_ways *ways, enum alert_way way, const char *name, const char *whom)
{
    struct error why = {0};
    int64_t now_ms = clock_unix_ms();
    const struct alert alert = {.cause = "test",
                                .source = "",
                                .state = ALERT_RAISED,
                                .words = WORDS,
                                .since_ms = now_ms,
                                .now_ms = now_ms,
                                .brief = WORDS};
    printf("%s, %s: ", name, whom);
    fflush(stdout); /* it may take ten seconds */
    bool good = alert_send(ways, way, &alert, NULL, &why);
    fputs(good ? "ok: it was told, and ended well" : "WRONG: ", stdout);
    plain_write(stdout, why.text, strlen(why.text));
    putchar('\n');
    return good;
}

static bool try_all(const struct config *config)
{
    char host[URL_HOST];
    const struct alert_ways ways = alert_ways_of(config);
    unsigned all = alert_ways_all(&ways);
    bool good = true;
    if ((all & ALERT_BY_COMMAND) != 0)
        good = try_way(&ways, ALERT_BY_COMMAND, "alert_command", ways.command[0]);
    if ((all & ALERT_BY_WEBHOOK) != 0)
        good = try_way(&ways, ALERT_BY_WEBHOOK, "alert_webhook_url", config_url_host(ways.webhook_url, host)) && good;
    if (all == 0)
        puts("nobody is told: set alert_command or alert_webhook_url in the configuration");
    return good && all != 0;
}

int command_alert_test(int argc, char **argv)
{
    struct error why = {0};
    if (!options_read(argc, argv, NULL, 0, NULL))
        return COMMAND_USAGE;
    struct config *config = config_load(&why);
    if (config == NULL) {
        fprintf(stderr, "%s: %s\n", argv[0], why.text);
        return COMMAND_CONFIGURATION;
    }
    bool good = try_all(config);
    good = check_alerts(config) == 0 && good;
    config_free(config);
    return good ? COMMAND_OK : COMMAND_FAILED;
}
