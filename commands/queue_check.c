/* queue check and queue move: is the queue's database whole, its repair on request; and giving what is kept for a
 * renamed source to another. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "base/text.h"
#include "closeapi/closeapi.h"
#include "commands/commands.h"
#include "commands/commands_private.h"
#include "kept/kept.h"
#include "queue/inspect.h"

static void note_fault(void *context, const char *fault)
{
    FILE *faults = context;
    fputs("fault: ", faults);
    plain_column(faults, fault, 0);
    fputc('\n', faults);
}

/* Checks the queue, releases its lock, and only then prints: a pager that is left open must not block others. */
static bool check_and_print_faults(struct session *session, size_t *faults, struct error *why)
{
    char *text = NULL;
    size_t length = 0;
    FILE *noted = open_memstream(&text, &length);
    if (noted == NULL) {
        error_set(why, "out of memory");
        return false;
    }
    bool good = queue_check(session->queue, note_fault, noted, faults, why);
    queue_rest(session->queue);
    fclose(noted);
    if (text != NULL)
        fwrite(text, 1, length, stdout);
    free(text);
    return good;
}

/* Opening a queue that is marked as damaged repairs it, where no other process has it open; opening one whose damage is
 * found just then only marks it. So a repair may need a second opening. */
static bool reopen_queue(struct session *session, bool wants_repair, struct error *why)
{
    queue_close(session->queue);
    session->queue = queue_open(session->config, why);
    if (session->queue == NULL && wants_repair)
        session->queue = queue_open(session->config, why);
    if (session->queue == NULL && session_print_holders(session->config, stderr) > 0)
        fputs(
            "These processes have it open. If it is damaged, stop them (what supervises them, or the web server, may\n"
            "start them again at once) and call this again, or start one of them: whoever opens it next repairs it.\n",
            stderr);
    return session->queue != NULL;
}

/* Prints the losses that repairs have noted for each source, and that no reconcile has fetched yet. */
static bool print_losses(const struct session *session, struct error *why)
{
    bool good = true;
    struct strings names = {NULL, 0};
    if (!queue_names(session->queue, &names, why))
        return false;
    for (size_t i = 0; i < names.count && good; i++) {
        struct loss loss;
        bool any;
        good = loss_read(session->config->state_dir, names.at[i], &loss, &any, why);
        if (!good || !any)
            continue;
        printf("source %s: ", names.at[i]);
        plain_column(stdout, loss.words, 0);
        putchar('\n');
    }
    queue_names_free(&names);
    return good;
}

static bool repair_queue(struct session *session, struct error *why)
{
    size_t faults = 0;
    if (!reopen_queue(session, true, why))
        return false;
    puts("repaired; the damaged files are kept in the state directory, in damaged-TIME");
    if (!print_losses(session, why))
        return false;
    if (!check_and_print_faults(session, &faults, why))
        return false;
    if (faults > 0)
        error_set(why, "it is damaged again: is the disk failing?");
    return faults == 0;
}

static bool check_or_repair(struct session *session, bool wants_repair, struct error *why)
{
    size_t faults = 0;
    if (!check_and_print_faults(session, &faults, why))
        return false;
    fflush(stdout);
    if (faults == 0) {
        puts("the queue is whole");
        return !wants_repair || print_losses(session, why); /* it may have been repaired when it was opened */
    }
    if (wants_repair)
        return repair_queue(session, why);
    error_set(why, "the queue is damaged: it is repaired by the first that opens it once no process has it open; to do "
                   "it now: stop the program, then `closecrm.fcgi queue check --repair`");
    return false;
}

int command_queue_check(int argc, char **argv)
{
    bool wants_repair = false;
    const struct option_spec specs[] = {{"--repair", NULL, &wants_repair}};
    struct session session;
    struct error why = {0};
    if (!options_read(argc, argv, specs, 1, NULL))
        return COMMAND_USAGE;
    if (!session_prepare(&session, argv[0]))
        return session.code;
    bool good = reopen_queue(&session, wants_repair, &why) && check_or_repair(&session, wants_repair, &why);
    if (!good && wants_repair && session.queue != NULL && queue_must_reopen(session.queue))
        good = repair_queue(&session, &why); /* too damaged to be checked */
    session_close(&session);
    return good ? COMMAND_OK : session_failed(argv[0], &why);
}

/* ---- queue move: gives everything kept for a renamed or removed source to another source ---- */

/* Events of a configured source may be in flight right now: they would be delivered twice, to two places. */
static int refuse_configured(const char *command, const char *from)
{
    fprintf(stderr,
            "%s: source %s is configured, and its events are being forwarded: take it out of the configuration first\n",
            command, from);
    return COMMAND_FAILED;
}

static void print_not_moved(void *context, const char *words)
{
    (void)context;
    printf("not moved: %s\n", words);
}

static void print_moved(const struct moved *moved, const struct closeapi_moved *files, const char *from, const char *to)
{
    printf("moved from %s to %s: %" PRIu64 " waiting event%s, %" PRIu64 " dead letter%s, %" PRIu64
           " identit%s of delivered events, %zu signature key%s, %zu note%s of the Close side\n",
           from, to, moved->events, text_plural(moved->events), moved->letters, text_plural(moved->letters),
           moved->identities, moved->identities == 1 ? "y" : "ies", files->keys, text_plural(files->keys), files->files,
           text_plural(files->files));
}

/* The identities of delivered events are moved before the position in the Event Log: events read again must be known as
 * delivered. */
static int move_source(const char *command, struct session *session, const char *from, const char *to)
{
    struct error why = {0};
    struct moved moved = {0};
    struct closeapi_moved files = {.stays = print_not_moved};
    bool known;
    if (config_source(session->config, from) != NULL)
        return refuse_configured(command, from);
    const struct source *target = session_source(session->config, to, command);
    if (target == NULL)
        return COMMAND_USAGE_SAID;
    /* what other machines keep of it is moved, too, also from a machine that has not looked yet */
    if (!session_knows_source(session->queue, from, &known, &why) || !kept_catch_up(session->config, &why))
        return session_failed(command, &why);
    bool good =
        (!known && closeapi_has_any(session->config, from)) || queue_move(session->queue, from, to, &moved, &why);
    good = good && closeapi_move(session->config, from, target, &files, &why);
    if (good || moved.events + moved.letters + moved.identities > 0)
        print_moved(&moved, &files, from, to);
    return good ? COMMAND_OK : session_failed(command, &why);
}

int command_queue_move(int argc, char **argv)
{
    int arguments = 0;
    struct session session;
    if (!options_read_all(argc, argv, NULL, 0, &arguments))
        return COMMAND_USAGE;
    if (arguments > 2)
        return options_wrong(argv[0], "too many arguments: %s", argv[3]);
    if (arguments < 2)
        return options_wrong(argv[0], "from which source to which?");
    if (!session_open(&session, argv[0]))
        return session.code;
    int code = move_source(argv[0], &session, argv[1], argv[2]);
    session_close(&session);
    return code;
}
