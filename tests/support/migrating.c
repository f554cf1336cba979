#include "tests/support/migrating.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/suites.h"
#include "tests/support/check.h"
#include "tests/support/queue_filled.h"

static const struct migrating silent;

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

bool migrating_is_killed(const struct made_config *made, enum queue_kind to, int steps)
{
    int code = migrating_in_child(made, to, steps);
    CU_ASSERT_FATAL(code == MIGRATING_KILLED || code == 0);
    return code == MIGRATING_KILLED;
}

void migrating_killed(const struct made_config *made, enum queue_kind to, int steps)
{
    CU_ASSERT_TRUE_FATAL(migrating_is_killed(made, to, steps));
}

void migrating_moves(const struct made_config *made, enum queue_kind to)
{
    struct error why = {0};
    struct migrated done;
    check(queue_migrate(&made->config, to, &silent, &done, &why), "it moves: %s", why.text);
}

void migrating_refused(const struct made_config *made, enum queue_kind to, const char *words)
{
    struct error why = {0};
    struct migrated done;
    CU_ASSERT_FALSE(to == MIGRATING_GIVE_UP ? queue_migrate_give_up(&made->config, false, &silent, &done, &why)
                                            : queue_migrate(&made->config, to, &silent, &done, &why));
    check(strstr(why.text, words) != NULL, "%s: %s", words, why.text);
}

void migrating_gives_up(const struct made_config *made, bool gone, struct migrated *done)
{
    struct error why = {0};
    check(queue_migrate_give_up(&made->config, gone, &silent, done, &why), "it is given up: %s", why.text);
}

char *migrating_text(struct made_config *made, enum queue_kind kind)
{
    made->config.queue = kind;
    char *text = queue_filled_text(made);
    made->config.queue = QUEUE_SQLITE;
    return text;
}

struct counts migrating_counts(struct made_config *made, enum queue_kind kind)
{
    made->config.queue = kind;
    struct queue *queue = queue_rig_open(made);
    struct counts counts = queue_rig_counts(queue, "one");
    queue_close(queue);
    made->config.queue = QUEUE_SQLITE;
    return counts;
}

void migrating_use_new(struct queue_rig_engine *engine, struct made_config *made, const char *directory,
                       const char *name, char state[static PATH_SIZE])
{
    made->config.queue = QUEUE_POSTGRESQL;
    queue_rig_new(engine, made);
    path_join(state, directory, name);
    made->config.queue = QUEUE_SQLITE;
}
