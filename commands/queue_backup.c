/* queue backup: a copy of the whole queue, made while it is in use. */
#include <stdio.h>
#include <sys/stat.h>

#include "commands/commands.h"
#include "commands/options.h"
#include "commands/state.h"

int command_queue_backup(int argc, char **argv)
{
    const char *path = NULL;
    struct state state;
    struct stat status;
    struct why why = {""};
    if (!options_read(argc, argv, NULL, 0, &path))
        return COMMAND_USAGE;
    if (path == NULL)
        return options_wrong(argv[0], "into which file?");
    if (!state_open(&state, argv[0]))
        return state.code;
    bool good = queue_backup(state.queue, path, &why);
    state_close(&state);
    if (!good)
        return state_failed(argv[0], &why);
    printf("%s: %lld bytes\n", path, stat(path, &status) == 0 ? (long long)status.st_size : 0LL);
    return COMMAND_OK;
}
