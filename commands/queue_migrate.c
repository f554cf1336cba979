/* queue migrate: gives the whole queue to the other engine. queue adopt: takes a database for the queue that is not the
 * one of before. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/program_name.h"
#include "base/text.h"
#include "commands/commands.h"
#include "commands/commands_private.h"
#include "queue/inspect.h"

#define TELL_MS 5000

static void print_figures(FILE *out, const struct migrated *done)
{
    fprintf(out, "%" PRIu64 " waiting event%s, %" PRIu64 " dead letter%s, %" PRIu64 " identit%s of delivered events",
            done->events, text_plural(done->events), done->letters, text_plural(done->letters), done->identities,
            done->identities == 1 ? "y" : "ies");
}

static bool tell_now_and_then(void *context, const struct migrated *done)
{
    moment *told = context, now = clock_now();
    if (now - *told < TELL_MS)
        return true;
    *told = now;
    fputs("so far: ", stderr);
    print_figures(stderr, done);
    fputc('\n', stderr);
    return true;
}

/* Which queue is used now: no other value of the key finds what was moved. */
static void print_value(const struct config *config, const struct migrated *done)
{
    const char *value = done->holds == QUEUE_SQLITE ? "sqlite" : "postgresql";
    if (config->queue != done->holds)
        printf(
            "Now set queue = %s%s, and start the program: with the configuration as it is, that queue is not used.\n",
            value, done->holds == QUEUE_SQLITE ? " on this machine" : " on every machine that is to use it");
    else
        printf("It is used with queue = %s, as it is set here%s.\n", value,
               done->holds == QUEUE_SQLITE ? "; no other machine has it" : ": set that on every machine");
}

/* What stays in the old queue is a copy. */
static void print_copy(const struct config *config, const struct migrated *done)
{
    if (done->holds == QUEUE_POSTGRESQL)
        printf(
            "A copy of what was moved is still in %s/queue.db, where `forget` does not reach it: remove that file, and "
            "queue.db-wal and queue.db-shm where they are there, when all is well.\n",
            config->state_dir);
    else
        printf(
            "A copy of what was moved, customer data too, is still %s, where `forget` does not reach it. When all is "
            "well, no queue was moved there since, and no machine can come back that was called gone (only the "
            "database knows what of its queue had arrived): `psql ADDRESS -c 'DROP SCHEMA closecrm CASCADE'` with "
            "queue_url "
            "as ADDRESS removes it; a machine that still has queue = postgresql then accepts nothing until `queue "
            "adopt` is called there.\n",
            done->from);
}

static void print_migrated(const struct config *config, const struct migrated *done)
{
    if (done->is_elsewhere)
        printf(
            "the queue that was %s was moved before: it is %s, and this machine does not have it. This machine's own "
            "queue, beside that one, is open in %s: let Close's address lead to one of them\n",
            done->from, done->to, config->state_dir);
    else if (done->was_done)
        printf("the queue that was %s was moved before: it is %s\n", done->from, done->to);
    else {
        printf("moved the queue that was %s; it is %s now: ", done->from, done->to);
        print_figures(stdout, done);
        putchar('\n');
    }
    print_value(config, done);
    if (!done->is_elsewhere)
        print_copy(config, done);
}

/* Whoever was called gone knows nothing of it. */
static void print_return(const struct migrated *done)
{
    if (done->holds == QUEUE_SQLITE)
        printf(
            "Should that one come back, start nothing with it, for what waits in it would be delivered from both: `%s "
            "queue migrate --to sqlite` on this machine brings what is in it, where what was delivered is known.\n",
            program_name());
    else
        puts("Should that one come back, start nothing with it before `queue migrate --give-up` was called there: that "
             "keeps there what is not here.");
}

static void print_given_up(const struct config *config, const struct migrated *done)
{
    if (done->is_opened)
        printf("the queue %s is open again, as it is; the other one was %s. In it: ", done->from, done->to);
    else if (done->stays_there)
        printf("the queue %s can be used, without what had arrived %s, which stays there: ", done->from, done->to);
    else
        printf("the queue stays %s, and can be used; removed again %s: ", done->from, done->to);
    print_figures(stdout, done);
    putchar('\n');
    print_value(config, done);
    if (done->is_opened)
        print_return(done);
}

static int migrate(const char *command, enum queue_kind to, bool gives_up, bool gone)
{
    struct session session;
    struct error why = {0};
    struct migrated done;
    moment told = clock_now();
    const struct migrating watch = {tell_now_and_then, &told};
    if (!session_prepare_to_make(&session, command))
        return session.code;
    bool good = gives_up ? queue_migrate_give_up(session.config, gone, &watch, &done, &why)
                         : queue_migrate(session.config, to, &watch, &done, &why);
    if (good && gives_up)
        print_given_up(session.config, &done);
    else if (good)
        print_migrated(session.config, &done);
    session_close(&session);
    return good ? COMMAND_OK : session_failed(command, &why);
}

int command_queue_migrate(int argc, char **argv)
{
    const char *to = NULL;
    bool gives_up = false, gone = false;
    const struct option_spec specs[] = {{"--to", &to, NULL}, {"--give-up", NULL, &gives_up}, {"--gone", NULL, &gone}};
    if (!options_read(argc, argv, specs, 3, NULL))
        return COMMAND_USAGE;
    if (gives_up && to != NULL)
        return options_wrong(argv[0], "--give-up undoes what --to has begun: give one of them");
    if (gone && !gives_up)
        return options_wrong(argv[0], "--gone belongs to --give-up");
    if (gives_up)
        return migrate(argv[0], QUEUE_SQLITE, true, gone);
    if (to == NULL)
        return options_wrong(argv[0], "to which queue? --to postgresql, or --to sqlite");
    bool is_sqlite = strcmp(to, "sqlite") == 0;
    if (!is_sqlite && strcmp(to, "postgresql") != 0)
        return options_wrong(argv[0], "--to %.60s? A queue can be moved to postgresql, and to sqlite", to);
    return migrate(argv[0], is_sqlite ? QUEUE_SQLITE : QUEUE_POSTGRESQL, false, false);
}

static void print_place(void *context, const char *words)
{
    (void)context;
    puts(words);
}

int command_queue_adopt(int argc, char **argv)
{
    struct session session;
    struct error why = {0};
    if (!options_read(argc, argv, NULL, 0, NULL))
        return COMMAND_USAGE;
    if (!session_prepare(&session, argv[0]))
        return session.code;
    session.queue = queue_open(session.config, &why); /* not session_open, which asks it something: it would refuse */
    bool good = session.queue != NULL && queue_adopt(session.queue, print_place, NULL, &why);
    session_close(&session);
    return good ? COMMAND_OK : session_failed(argv[0], &why);
}
