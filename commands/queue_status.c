/* queue status: how many events were accepted, what became of them, what waits and why. */
#include "base/escape.h"
#include "base/times.h"
#include "commands/commands.h"
#include "commands/options.h"
#include "commands/overview.h"
#include "commands/session.h"

#include <stdio.h>

static void print_moment(const char *label, int64_t ms, int64_t now_ms)
{
    char date[WHEN_SIZE], age[WHEN_SIZE];
    if (ms == 0)
        printf("%s never\n", label);
    else
        printf("%s %s (%s ago)\n", label, times_print_utc(ms, date), times_print_age(now_ms - ms, age));
}

static void print_counts(const struct counts *counts, int64_t now_ms)
{
    char age[WHEN_SIZE], date[WHEN_SIZE];
    const struct {
        const char *name;
        uint64_t number;
    } numbers[] = {{"accepted", counts->accepted},
                   {"delivered", counts->delivered},
                   {"duplicates", counts->duplicates},
                   {"dropped", counts->dropped},
                   {"dead letters", counts->dead}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        printf("  %-15s %llu\n", numbers[i].name, (unsigned long long)numbers[i].number);
    if (counts->ended > 0)
        printf("  %-15s %llu dead letters, after dead_retention\n", "ended", (unsigned long long)counts->ended);
    if (counts->ending > 0)
        printf("  %-15s %llu dead letters end from %s on\n", "end soon", (unsigned long long)counts->ending,
               times_print_utc(counts->ending_ms, date));
    printf("  %-15s %llu", "waiting", (unsigned long long)counts->waiting);
    if (counts->oldest_received_ms != 0)
        printf(", the oldest since %s", times_print_age(now_ms - counts->oldest_received_ms, age));
    putchar('\n');
    print_moment("  last accepted  ", counts->last_accepted_ms, now_ms);
    print_moment("  last delivered ", counts->last_delivered_ms, now_ms);
}

static void print_notes(const struct notes *notes, int64_t now_ms)
{
    char date[WHEN_SIZE], age[WHEN_SIZE];
    if (notes->reason[0] == '\0')
        return;
    fputs("  last error      ", stdout);
    plain_column(stdout, notes->reason, 0);
    putchar('\n');
    if (notes->operator_must_act)
        puts("                  this does not mend itself: `closecrm.fcgi check` says what to do");
    if (notes->tries > 0 && notes->since_ms > 0)
        printf("  failed          %u times, since %s\n", (unsigned)notes->tries,
               times_print_utc(notes->since_ms, date));
    if (notes->next_ms > now_ms)
        printf("  next attempt    %s (in %s)\n", times_print_utc(notes->next_ms, date),
               times_print_age(notes->next_ms - now_ms, age));
    if (notes->parked_count > 0)
        printf("  held back       %u events that fail while others pass, and what follows of their leads\n",
               (unsigned)notes->parked_count);
}

static void print_complete(const struct completeness *complete)
{
    char words[COMPLETENESS_WORDS];
    printf("  %s\n", completeness_words(complete, words));
    if (complete->missed > 0)
        printf("  missed by the webhook and fetched from Close: %llu (%llu too large, %llu while paused)\n",
               (unsigned long long)complete->missed, (unsigned long long)complete->missed_large,
               (unsigned long long)complete->missed_paused);
    if (complete->trouble[0] == '\0')
        return;
    fputs("  Close           ", stdout);
    plain_column(stdout, complete->trouble, 0);
    putchar('\n');
}

static void print_all(const struct overview *overview)
{
    size_t shown = 0;
    for (size_t i = 0; i < overview->names.count; i++) {
        const struct overview_source *source = &overview->source[i];
        if (!overview_matters(source))
            continue;
        shown++;
        printf("source %s%s\n", source->name, source->configured ? "" : " (not in the configuration)");
        print_counts(&source->counts, overview->now_ms);
        print_notes(&source->notes, overview->now_ms);
        if (source->reconciles)
            print_complete(&source->complete);
        if (!source->configured && source->counts.waiting + source->counts.dead > 0)
            printf("  its events wait until it is configured again, or `closecrm.fcgi queue move %s NEW`\n",
                   source->name);
        putchar('\n');
    }
    if (shown > 1) {
        puts("in all");
        print_counts(&overview->all, overview->now_ms);
        putchar('\n');
    }
    const char *still = overview_stands_still(overview);
    printf("forwarding: %s\n", overview->forwarder.text);
    if (still != NULL)
        printf("            %s\n", still);
    print_moment("last cron:", overview->last_cron_ms, overview->now_ms);
}

int command_queue_status(int argc, char **argv)
{
    bool json = false;
    const struct option_spec specs[] = {{"--json", NULL, &json}};
    struct session state;
    struct overview overview = {.source = NULL};
    struct error why = {0};
    if (!options_read(argc, argv, specs, 1, NULL))
        return COMMAND_USAGE;
    if (!session_open(&state, argv[0]))
        return state.code;
    bool good = overview_gather(&overview, state.queue, state.config, &why);
    session_close(&state);
    if (good && json) {
        good = overview_print_json(&overview, stdout);
        error_set(&why, "out of memory");
    } else if (good) {
        print_all(&overview);
    }
    overview_free(&overview);
    return good ? COMMAND_OK : session_failed(argv[0], &why);
}
