/* forget: erases what is kept here of a lead: waiting events, dead letters, samples, and what deleted events left in
 * the database's free pages. What it cannot reach it names. Interrupted, it goes on when it is called again. */
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

struct forgetting {
    struct session session;
    const char *command;
    struct dead_filter filter; /* its source and lead are what to forget */
    bool dry_run, yes;
    struct queue_request *events; /* the lead's waiting events */
    size_t event_count, event_capacity;
    uint64_t letters, samples; /* counted first; in the end how many were deleted */
    uint64_t events_done, events_left;
    struct error left_why; /* why one of those was left */
};

/* ---- finding ---- */

static bool add_waiting(struct forgetting *work, const char *source, const struct event *event, struct error *why)
{
    struct headline headline;
    headline_read(&headline, event->body, event->length);
    if (headline.lead == NULL || strcmp(headline.lead, work->filter.lead) != 0)
        return true;
    if (work->event_count == work->event_capacity) {
        size_t capacity = work->event_capacity == 0 ? 64 : 2 * work->event_capacity;
        struct queue_request *more = realloc(work->events, capacity * sizeof *more);
        if (more == NULL) {
            error_set(why, "out of memory");
            return false;
        }
        work->events = more;
        work->event_capacity = capacity;
    }
    if (work->dry_run)
        work->events[work->event_count++] = (struct queue_request){.event = event->id};
    else
        set_aside_prepare(&work->events[work->event_count++], source, event);
    return true;
}

static bool find_waiting_of(struct forgetting *work, const char *source, struct error *why)
{
    struct events events = {NULL, 0, 0, {NULL, 0, 0, false}};
    uint64_t after = 0;
    int found = 1;
    while (found > 0) {
        found = queue_list(work->session.queue, source, after, PAGE_EVENTS, PAGE_BYTES, &events, why);
        queue_rest(work->session.queue);
        for (int i = 0; i < found; i++) {
            if (!add_waiting(work, source, &events.at[i], why)) {
                events_free(&events);
                return false;
            }
        }
        if (found > 0)
            after = events.at[events.count - 1].id;
    }
    events_free(&events);
    return found == 0;
}

static bool find_waiting(struct forgetting *work, struct error *why)
{
    struct strings names = {NULL, 0};
    bool good = queue_names(work->session.queue, &names, why);
    for (size_t i = 0; good && i < names.count; i++) {
        if (work->filter.source == NULL || strcmp(names.at[i], work->filter.source) == 0)
            good = find_waiting_of(work, names.at[i], why);
    }
    queue_names_free(&names);
    return good;
}

static bool count_letters(void *context, const struct dead_page *found, struct error *why)
{
    struct forgetting *work = context;
    (void)why;
    work->letters += found->count;
    return true;
}

static bool forget_samples(struct forgetting *work, bool dry_run, struct error *why)
{
    return machines_recent_forget(work->session.config, work->filter.source, work->filter.lead, dry_run, &work->samples,
                                  why);
}

/* ---- deleting ---- */

static int confirm_forget(const struct forgetting *work)
{
    if (work->yes)
        return COMMAND_OK;
    if (!isatty(STDIN_FILENO))
        return options_wrong(work->command,
                             "this deletes events that RudderStack has not got, for good: say so with --yes");
    queue_rest(work->session.queue);
    fprintf(stderr,
            "Delete %zu waiting events, which then are not delivered, %" PRIu64 " dead letters and %" PRIu64
            " samples, for good? [y/N] ",
            work->event_count, work->letters, work->samples);
    return options_confirmed(work->command) ? COMMAND_OK : COMMAND_FAILED;
}

/* An event that is with the data plane at this moment, or was delivered just now, is left, and counted. */
static void set_waiting_aside(struct forgetting *work)
{
    for (size_t i = 0; i < work->event_count; i++) {
        struct error words = {0};
        if (set_aside_event(work->session.queue, &work->events[i], &words)) {
            work->events_done++;
        } else {
            work->events_left++;
            work->left_why = words;
        }
    }
}

static bool delete_letters(void *context, const struct dead_page *found, struct error *why)
{
    struct forgetting *work = context;
    uint64_t ids[DEAD_PAGE_MOST];
    size_t count = 0, done = 0;
    for (size_t i = 0; i < found->count && count < DEAD_PAGE_MOST; i++) {
        if (!found->letter[i]->replayed) /* else its event was left */
            ids[count++] = found->letter[i]->id;
    }
    bool good = count == 0 || queue_discard(work->session.queue, ids, count, &done, why);
    work->letters += done;
    return good;
}

static bool delete_all(struct forgetting *work, struct error *why)
{
    work->letters = 0;
    set_waiting_aside(work);
    if (!dead_filter_walk(work->session.queue, &work->filter, delete_letters, work, why))
        return false;
    work->letters -= work->events_done < work->letters ? work->events_done : work->letters;
    return forget_samples(work, false, why) && queue_scrub(work->session.queue, why);
}

/* ---- what is said ---- */

static void print_counts(const struct forgetting *work, uint64_t events, const char *did)
{
    printf("%s of lead %s: %" PRIu64 " waiting event%s, %" PRIu64 " dead letter%s, %" PRIu64 " sample%s\n", did,
           work->filter.lead, events, text_plural(events), work->letters, text_plural(work->letters), work->samples,
           text_plural(work->samples));
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

static int forget_lead(struct forgetting *work)
{
    struct error why = {0};
    if (!find_waiting(work, &why) || !dead_filter_walk(work->session.queue, &work->filter, count_letters, work, &why))
        return session_failed(work->command, &why);
    forget_samples(work, true, &why);
    if (work->dry_run) {
        print_counts(work, work->event_count, "Would be deleted");
        print_limits(work);
        return COMMAND_OK;
    }
    int code = confirm_forget(work);
    if (code != COMMAND_OK)
        return code;
    bool good = delete_all(work, &why);
    queue_rest(work->session.queue);
    print_counts(work, work->events_done, "Deleted");
    if (!good)
        return session_failed(work->command, &why);
    if (work->events_left > 0)
        printf("%" PRIu64 " waiting event%s left: %s; call this again\n", work->events_left,
               work->events_left == 1 ? " was" : "s were", work->left_why.text);
    print_limits(work);
    return work->events_left > 0 ? COMMAND_FAILED : COMMAND_OK;
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
    int code = session_missed(&work.session, argv[0], NULL, forget_lead(&work));
    free(work.events);
    session_close(&work.session);
    return code;
}
