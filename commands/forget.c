/* forget: erases what is kept here of a lead: dead letters, waiting events, samples, and what deleted events left in
 * the database's free pages. What it cannot reach it names. It makes no dead letters of waiting events, which a replay
 * could send; and those that are there go first, for what is on its way again waits then, and is found there. Each step
 * is a transaction: interrupted, it goes on when it is called again. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "commands/commands.h"
#include "commands/commands_private.h"
#include "telemetry/telemetry.h"
#include "transform/shown.h"

#define PAGE_EVENTS 1000
#define PAGE_BYTES ((size_t)4 << 20)
#define LETTERS_MOST 5000 /* deleted at once: who appends waits for it */
#define ROUNDS 3

struct forgetting {
    struct session session;
    const char *command;
    struct dead_filter filter; /* its source and lead are what to forget */
    bool dry_run, yes;
    uint64_t events, letters, samples; /* counted first; in the end how many were deleted */
    uint64_t events_left, letters_left;
    struct error left_why;        /* why one of those was left */
    struct queue_request request; /* the events that are erased next */
    uint64_t *ids;                /* of the letters that are deleted next; room for LETTERS_MOST */
    size_t id_count;
};

/* ---- waiting events ---- */

static bool is_of_lead(const struct forgetting *work, const struct event *event)
{
    struct headline headline;
    headline_read(&headline, event->body, event->length);
    return headline.lead != NULL && strcmp(headline.lead, work->filter.lead) == 0;
}

/* An event that is with the data plane at this moment, or was delivered just now, is left, and counted. */
static bool erase_gathered(struct forgetting *work, struct error *why)
{
    struct queue_request *request = &work->request;
    struct error words = {0};
    size_t erased = 0;
    if (request->erases == 0)
        return true;
    if (!end_waiting(work->session.queue, request, &erased, &words)) {
        *why = words;
        return false;
    }
    work->events += erased;
    work->events_left += request->erases - erased;
    if (erased < request->erases)
        work->left_why = words;
    request->erases = 0;
    return true;
}

static bool erase_event(struct forgetting *work, const struct event *event, struct error *why)
{
    if (work->request.erases == QUEUE_ERASES && !erase_gathered(work, why))
        return false;
    waiting_end_read(&work->request.erase[work->request.erases++], event);
    return true;
}

/* Counts them, or erases them. */
static bool walk_waiting_of(struct forgetting *work, const char *source, bool erase, struct error *why)
{
    struct events events = {NULL, 0, 0, {NULL, 0, 0, false}};
    uint64_t after = 0;
    int found = 1;
    bool good = true;
    snprintf(work->request.source, sizeof work->request.source, "%s", source);
    while (good && found > 0) {
        found = queue_list(work->session.queue, source, after, PAGE_EVENTS, PAGE_BYTES, &events, why);
        for (int i = 0; good && i < found; i++) {
            if (!is_of_lead(work, &events.at[i]))
                continue;
            work->events += !erase;
            good = !erase || erase_event(work, &events.at[i], why);
        }
        if (found > 0)
            after = events.at[events.count - 1].id;
    }
    events_free(&events);
    return good && found == 0 && erase_gathered(work, why);
}

static bool walk_waiting(struct forgetting *work, bool erase, struct error *why)
{
    struct strings names = {NULL, 0};
    bool good = queue_names(work->session.queue, &names, why);
    work->events_left = 0;
    for (size_t i = 0; good && i < names.count; i++) {
        if (work->filter.source == NULL || strcmp(names.at[i], work->filter.source) == 0)
            good = walk_waiting_of(work, names.at[i], erase, why);
    }
    queue_names_free(&names);
    return good;
}

/* ---- dead letters ---- */

/* Those on their way again wait: they are counted there. */
static bool count_letters(void *context, const struct dead_page *found, struct error *why)
{
    struct forgetting *work = context;
    (void)why;
    for (size_t i = 0; i < found->count; i++)
        work->letters += !found->letter[i]->replayed;
    return true;
}

static bool count_letters_left(void *context, const struct dead_page *found, struct error *why)
{
    struct forgetting *work = context;
    (void)why;
    work->letters_left += found->count;
    return true;
}

static bool delete_gathered(struct forgetting *work, struct error *why)
{
    size_t done = 0;
    bool good = work->id_count == 0 || queue_discard(work->session.queue, work->ids, work->id_count, &done, why);
    work->letters += done;
    work->id_count = 0;
    return good;
}

static bool gather_letters(void *context, const struct dead_page *found, struct error *why)
{
    struct forgetting *work = context;
    if (work->id_count + found->count > LETTERS_MOST && !delete_gathered(work, why))
        return false;
    for (size_t i = 0; i < found->count; i++) {
        if (!found->letter[i]->replayed)
            work->ids[work->id_count++] = found->letter[i]->id;
    }
    return true;
}

static bool delete_letters(struct forgetting *work, struct error *why)
{
    return dead_filter_walk(work->session.queue, &work->filter, gather_letters, work, why) &&
           delete_gathered(work, why);
}

static bool forget_samples(struct forgetting *work, bool dry_run, struct error *why)
{
    return machines_recent_forget(work->session.config, work->filter.source, work->filter.lead, dry_run, &work->samples,
                                  why);
}

/* ---- all of it ---- */

static int confirm_forget(const struct forgetting *work)
{
    if (work->yes)
        return COMMAND_OK;
    if (!isatty(STDIN_FILENO))
        return options_wrong(work->command,
                             "this deletes events that RudderStack has not got, for good: say so with --yes");
    queue_rest(work->session.queue);
    fprintf(stderr,
            "Delete %" PRIu64 " waiting events, which then are not delivered, %" PRIu64 " dead letters and %" PRIu64
            " samples, for good? [y/N] ",
            work->events, work->letters, work->samples);
    return options_confirmed(work->command) ? COMMAND_OK : COMMAND_FAILED;
}

/* Letters that are left were sent on their way meanwhile, or died meanwhile: another round meets them. */
static bool delete_all(struct forgetting *work, struct error *why)
{
    struct dead_filter *filter = &work->filter;
    struct queue *queue = work->session.queue;
    work->events = work->letters = 0;
    for (unsigned round = 0; round == 0 || (work->letters_left > 0 && round < ROUNDS); round++) {
        work->letters_left = 0;
        if (!delete_letters(work, why) || !walk_waiting(work, true, why) ||
            !dead_filter_walk(queue, filter, count_letters_left, work, why))
            return false;
    }
    return forget_samples(work, false, why);
}

/* ---- what is said ---- */

static void print_counts(const struct forgetting *work, const char *did)
{
    printf("%s of lead %s: %" PRIu64 " waiting event%s, %" PRIu64 " dead letter%s, %" PRIu64 " sample%s\n", did,
           work->filter.lead, work->events, text_plural(work->events), work->letters, text_plural(work->letters),
           work->samples, text_plural(work->samples));
}

static void print_left(const struct forgetting *work)
{
    if (work->events_left > 0)
        printf("%" PRIu64 " waiting event%s left: %s; call this again\n", work->events_left,
               work->events_left == 1 ? " was" : "s were", work->left_why.text);
    else if (work->letters_left > 0)
        printf("%" PRIu64 " dead letter%s left: another command has sent %s on %s way meanwhile; call this again\n",
               work->letters_left, work->letters_left == 1 ? " was" : "s were", work->letters_left == 1 ? "it" : "them",
               work->letters_left == 1 ? "its" : "their");
}

/* Names the folders with a damaged database, which a repair keeps. */
static void print_damaged(const char *state_dir)
{
    DIR *directory = opendir(state_dir);
    const struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        if (strncmp(entry->d_name, "damaged-", 8) == 0)
            printf("Not reached: %s/%s, which a repair kept: delete it when you do not need it any more\n", state_dir,
                   entry->d_name);
    }
    if (directory != NULL)
        closedir(directory);
}

static void print_limits(const struct forgetting *work)
{
    print_damaged(work->session.config->state_dir);
    puts("Not reached: backups, what RudderStack and its destinations (the warehouse) have, and Close itself.");
    puts("What Close sends of this lead from now on is accepted as before; but an event that was erased is known, and\n"
         "not taken again when Close repeats it (a newer version of it is).");
}

static bool count_all(struct forgetting *work, struct error *why)
{
    return walk_waiting(work, false, why) &&
           dead_filter_walk(work->session.queue, &work->filter, count_letters, work, why) &&
           (forget_samples(work, true, why), true);
}

static int forget_lead(struct forgetting *work)
{
    struct error why = {0};
    if ((work->dry_run || !work->yes) && !count_all(work, &why))
        return session_failed(work->command, &why);
    if (work->dry_run) {
        print_counts(work, "Would be deleted");
        print_limits(work);
        return COMMAND_OK;
    }
    int code = confirm_forget(work);
    if (code != COMMAND_OK)
        return code;
    bool good = delete_all(work, &why);
    bool scrubbed = good && queue_scrub(work->session.queue, &why);
    queue_rest(work->session.queue);
    if (good || work->events + work->letters > 0)
        print_counts(work, "Deleted");
    if (good)
        print_left(work);
    if (!scrubbed)
        return session_failed(work->command, &why);
    print_limits(work);
    return work->events_left + work->letters_left > 0 ? COMMAND_FAILED : COMMAND_OK;
}

int command_forget(int argc, char **argv)
{
    struct forgetting work = {.command = argv[0]};
    const struct option_spec specs[] = {{"--lead", &work.filter.lead, NULL},
                                        {"--source", &work.filter.source, NULL},
                                        {"--dry-run", NULL, &work.dry_run},
                                        {"--yes", NULL, &work.yes}};
    work.filter.since_ms = INT64_MIN;
    work.filter.until_ms = INT64_MAX;
    if (!options_read(argc, argv, specs, sizeof specs / sizeof *specs, NULL))
        return COMMAND_USAGE;
    if (work.filter.lead == NULL)
        return options_wrong(argv[0], "which lead? Give its id: --lead lead_...");
    if (!session_open(&work.session, argv[0]))
        return work.session.code;
    struct error why = {.text = "out of memory"};
    work.ids = calloc(LETTERS_MOST + DEAD_PAGE_MOST, sizeof *work.ids);
    int code = work.ids == NULL ? session_failed(argv[0], &why)
                                : session_missed(&work.session, argv[0], NULL, forget_lead(&work));
    free(work.ids);
    session_close(&work.session);
    return code;
}
