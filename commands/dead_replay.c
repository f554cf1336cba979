/* dead replay and dead drop: both count first, then act in steps, each a transaction of its own: an interrupted command
 * has done whole steps, and called again it does the rest. Letters whose replay is under way are skipped: whether they
 * will be delivered is not known yet. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"
#include "commands/commands.h"
#include "commands/dead_filter.h"
#include "commands/session.h"

/* How the two commands differ. */
struct dead_action {
    bool (*act)(struct queue *queue, const uint64_t *ids, size_t count, size_t *done, struct error *why);
    bool asks;     /* for confirmation: it cannot be undone */
    bool forwards; /* needs a configured source, else a replayed event waits for ever */
    const char *would, *doing, *did;
};

static const struct dead_action replay_action = {queue_replay,        false,       true,
                                                 "would be replayed", "replaying", "replayed"};
static const struct dead_action drop_action = {queue_discard, true, false, "would be dropped", "dropping", "dropped"};

struct dead_work {
    const struct dead_action *action;
    struct session session;
    struct dead_filter filter;
    bool all, dry_run, yes;
    bool shows_progress;
    uint64_t wanted; /* letters that were counted */
    uint64_t on_their_way;
    uint64_t sourceless;      /* letters of sources that are not configured, left alone */
    char sourceless_name[65]; /* one of these */
    uint64_t last;            /* the highest id among them */
    uint64_t done;
};

static bool is_left_alone(const struct dead_work *work, const struct letter *letter)
{
    return work->action->forwards && config_source(work->session.config, letter->source) == NULL;
}

static bool count_page(void *context, const struct dead_page *found, struct error *why)
{
    struct dead_work *work = context;
    (void)why;
    for (size_t i = 0; i < found->count; i++) {
        if (found->letter[i]->replayed) {
            work->on_their_way++;
        } else if (is_left_alone(work, found->letter[i])) {
            work->sourceless++;
            snprintf(work->sourceless_name, sizeof work->sourceless_name, "%.64s", found->letter[i]->source);
        } else {
            work->wanted++;
        }
        work->last = found->letter[i]->id;
    }
    return true;
}

static bool act_on_page(void *context, const struct dead_page *found, struct error *why)
{
    struct dead_work *work = context;
    uint64_t ids[DEAD_PAGE_MOST];
    size_t count = 0, done = 0;
    for (size_t i = 0; i < found->count && count < DEAD_PAGE_MOST; i++) {
        if (!found->letter[i]->replayed && !is_left_alone(work, found->letter[i]))
            ids[count++] = found->letter[i]->id;
    }
    if (count > 0 && !work->action->act(work->session.queue, ids, count, &done, why))
        return false;
    work->done += done;
    if (work->shows_progress) /* on a terminal, which may be stopped */
        queue_rest(work->session.queue);
    if (work->shows_progress)
        fprintf(stderr, "\r%s: %" PRIu64 " of %" PRIu64 " ", work->action->doing, work->done, work->wanted);
    return true;
}

/* Asks on the terminal. Returns COMMAND_OK for yes. */
static int confirm_action(const struct dead_work *work, const char *command)
{
    if (work->yes || !work->action->asks || work->wanted == 0)
        return COMMAND_OK;
    if (!isatty(STDIN_FILENO))
        return options_wrong(command, "%" PRIu64 " dead letter%s %s, for good: say so with --yes", work->wanted,
                             text_plural(work->wanted), work->action->would);
    queue_rest(work->session.queue);
    fprintf(stderr, "%" PRIu64 " dead letter%s %s, for good. Do it? [y/N] ", work->wanted, text_plural(work->wanted),
            work->action->would);
    return options_confirmed(command) ? COMMAND_OK : COMMAND_FAILED;
}

static void print_summary(const struct dead_work *work)
{
    char line[OWN_COMMAND];
    size_t missing = work->filter.id_count - work->filter.ids_found;
    uint64_t letters = work->dry_run ? work->wanted : work->done;
    printf("%" PRIu64 " dead letter%s %s", letters, text_plural(letters),
           work->dry_run ? work->action->would : work->action->did);
    if (work->on_their_way > 0)
        printf("; %" PRIu64 " %s way already", work->on_their_way,
               work->on_their_way == 1 ? "is on its" : "are on their");
    if (work->filter.ids_found < work->filter.id_count)
        printf("; of the %zu that %s named %zu cannot be found, or %s not fit", work->filter.id_count,
               work->filter.id_count == 1 ? "was" : "were", missing, missing == 1 ? "does" : "do");
    if (work->sourceless > 0)
        printf("; %" PRIu64 " %s left alone, for %s source is not in the configuration: configure source %s again, "
               "or: %s",
               work->sourceless, work->sourceless == 1 ? "is" : "are", work->sourceless == 1 ? "its" : "their",
               work->sourceless_name, own_command(line, NULL, NULL, "queue move %s NEW", work->sourceless_name));
    putchar('\n');
}

/* New dead letters are not meant: the second walk ends at the last letter that was counted. */
static int act_on_letters(struct dead_work *work, const char *command)
{
    struct error why = {0};
    if (!dead_filter_walk(work->session.queue, &work->filter, count_page, work, &why))
        return session_failed(command, &why);
    queue_rest(work->session.queue);
    bool complete = work->filter.ids_found == work->filter.id_count || work->filter.id_count == 0;
    size_t ids_found = work->filter.ids_found;
    if (!work->dry_run && work->wanted > 0) {
        int code = confirm_action(work, command);
        if (code != COMMAND_OK)
            return code;
        work->filter.last = work->last;
        work->shows_progress = isatty(STDERR_FILENO);
        bool good = dead_filter_walk(work->session.queue, &work->filter, act_on_page, work, &why);
        work->filter.ids_found = ids_found;
        queue_rest(work->session.queue);
        if (work->shows_progress)
            fputc('\n', stderr);
        if (!good) {
            print_summary(work);
            return session_failed(command, &why);
        }
    }
    print_summary(work);
    return complete && work->sourceless == 0 ? COMMAND_OK : COMMAND_FAILED;
}

static int run_action(struct dead_work *work, int argc, char **argv)
{
    const struct option_spec specs[] = {
        {"--all", NULL, &work->all}, {"--dry-run", NULL, &work->dry_run}, {"--yes", NULL, &work->yes}};
    size_t count = work->action->asks ? 3 : 2;
    if (!dead_filter_read(&work->filter, argc, argv, specs, count))
        return COMMAND_USAGE;
    if (!work->all && !dead_filter_is_any(&work->filter))
        return options_wrong(argv[0], "which ones? Give their numbers or a filter, or --all");
    if (!session_open(&work->session, argv[0]))
        return work->session.code;
    int code = act_on_letters(work, argv[0]);
    session_close(&work->session);
    return code;
}

int command_dead_replay(int argc, char **argv)
{
    struct dead_work work = {.action = &replay_action};
    int code = run_action(&work, argc, argv);
    dead_filter_free(&work.filter);
    return code;
}

int command_dead_drop(int argc, char **argv)
{
    struct dead_work work = {.action = &drop_action};
    int code = run_action(&work, argc, argv);
    dead_filter_free(&work.filter);
    return code;
}
