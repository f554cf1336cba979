/* forward: delivers what is due and ends, or (--follow) goes on until it is stopped. */
#include <stdint.h>
#include <stdio.h>

#include "base/log.h"
#include "commands/commands.h"
#include "commands/options.h"
#include "commands/session.h"
#include "config/config.h"
#include "process/bounded.h"
#include "process/process.h"

static int forward_once(const struct config *config)
{
    struct error why = {0};
    process_unblock_signals();
    switch (bounded_forward(config, MOMENT_NEVER, &why)) {
    case BOUNDED_DONE:
        return COMMAND_OK;
    case BOUNDED_ELSEWHERE:
        printf("Nothing is left to do here: %s.\n", why.text);
        return COMMAND_OK;
    case BOUNDED_STOPPED:
        break;
    case BOUNDED_FAILED:
        fprintf(stderr, "forward: %s\n", why.text);
        return COMMAND_STATE;
    }
    return COMMAND_FAILED;
}

static bool has_queue(const struct config *config, struct error *why)
{
    if (config->queue == QUEUE_NONE)
        error_set(why, "queue = none keeps nothing that could be forwarded later");
    return config->queue != QUEUE_NONE;
}

int command_forward(int argc, char **argv)
{
    bool follow = false;
    const struct option_spec specs[] = {{"--follow", NULL, &follow}};
    if (!options_read(argc, argv, specs, 1, NULL))
        return COMMAND_USAGE;
    struct error why = {0};
    struct config *config = session_configuration(argv[0]);
    int code = COMMAND_CONFIGURATION;
    if (config == NULL)
        return code;
    if (!has_queue(config, &why)) {
        session_failed(argv[0], &why);
    } else if (!session_may_open(config, &why)) {
        session_failed(argv[0], &why);
        code = COMMAND_STATE;
    } else if (follow) {
        char *const again[] = {NULL, (char[]){"forward"}, (char[]){"--follow"}, NULL};
        code = daemon_follow(again);
    } else {
        log_open(config->log_level);
        code = forward_once(config);
    }
    config_free(config);
    return code;
}
