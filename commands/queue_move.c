/* queue move: gives what waits of a source that was renamed or removed to another. */
#include <inttypes.h>
#include <stdio.h>

#include "commands/commands.h"
#include "commands/options.h"
#include "commands/source.h"
#include "commands/state.h"

/* Of a source that is configured, events may be on their way this very moment: they would go twice, to two places. */
static int refuse_configured(const char *command, const char *from)
{
    fprintf(stderr,
            "%s: source %s is configured, and its events are being forwarded: take it out of the configuration first\n",
            command, from);
    return COMMAND_FAILED;
}

static int move(const char *command, struct state *state, const char *from, const char *to)
{
    struct counts counts;
    struct why why = {""};
    uint64_t moved = 0;
    if (config_source(state->config, from) != NULL)
        return refuse_configured(command, from);
    if (source_wanted(state->config, to, command) == NULL)
        return COMMAND_USAGE;
    if (!queue_count(state->queue, from, &counts, &why))
        return state_failed(command, &why);
    bool good = queue_move(state->queue, from, to, &moved, &why);
    if (good || moved > 0)
        printf("moved %" PRIu64 " waiting events%s from %s to %s\n", moved,
               good && counts.dead > 0 ? " and all dead letters" : "", from, to);
    return good ? COMMAND_OK : state_failed(command, &why);
}

int command_queue_move(int argc, char **argv)
{
    int arguments = 0;
    struct state state;
    if (!options_read_all(argc, argv, NULL, 0, &arguments))
        return COMMAND_USAGE;
    if (arguments != 2)
        return options_wrong(argv[0], "from which source to which?");
    if (!state_open(&state, argv[0]))
        return state.code;
    int code = move(argv[0], &state, argv[1], argv[2]);
    state_close(&state);
    return code;
}
