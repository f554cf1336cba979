#include "tests/support/migrating.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/suites.h"

static bool die_at_last(void *context, const struct migrated *done)
{
    int *steps = context;
    (void)done;
    if (--*steps == 0)
        _exit(MIGRATING_KILLED);
    return true;
}

static int run(const struct made_config *made, enum queue_kind to, bool gone, int steps)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        struct error why = {0};
        struct migrated done;
        const struct migrating watch = {die_at_last, &steps};
        bool good = to == MIGRATING_GIVE_UP ? queue_migrate_give_up(&made->config, gone, &watch, &done, &why)
                                            : queue_migrate(&made->config, to, &watch, &done, &why);
        if (!good)
            fprintf(stderr, "%s\n", why.text);
        _exit(good ? 0 : 1);
    }
    CU_ASSERT_FATAL(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

int migrating_in_child(const struct made_config *made, enum queue_kind to, int steps)
{
    return run(made, to, false, steps);
}

int migrating_gone_in_child(const struct made_config *made, int steps)
{
    return run(made, MIGRATING_GIVE_UP, true, steps);
}

void migrating_use_new(struct queue_rig_engine *engine, struct made_config *made, const char *directory,
                       const char *name, char state[static PATH_SIZE])
{
    made->config.queue = QUEUE_POSTGRESQL;
    queue_rig_new(engine, made);
    path_join(state, directory, name);
    made->config.queue = QUEUE_SQLITE;
}
