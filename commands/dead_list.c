/* dead list: the dead letters that match the filters, oldest first, each with its reason. */
#include <inttypes.h>
#include <stdio.h>

#include "base/escape.h"
#include "base/times.h"
#include "commands/commands.h"
#include "commands/dead_filter.h"
#include "commands/output.h"
#include "commands/session.h"

struct dead_listing {
    struct queue *queue;
    bool json;
    size_t lines;
};

static void print_letter(struct dead_listing *list, const struct letter *letter, const struct headline *headline)
{
    char date[WHEN_SIZE];
    if (list->lines++ == 0)
        printf("%-8s %-24s %9s %-12s %-28s %-28s %-48s %s\n", "ID", "DIED", "BYTES", "SOURCE", "EVENT", "EVENT-ID",
               "LEAD", "REASON");
    printf("%-8" PRIu64 " %-24s %9zu ", letter->id, times_print_utc(letter->died_ms, date), letter->length);
    plain_column(stdout, letter->source, 13);
    plain_column(stdout, headline->name, 29);
    plain_column(stdout, headline->id, 29);
    plain_column(stdout, headline->lead, 49);
    fputs(letter->replayed ? "(on its way again) " : "", stdout);
    plain_column(stdout, letter->reason, 0);
    putchar('\n');
}

static void print_letter_json(const struct letter *letter, const struct headline *headline)
{
    struct json_object *element = output_event(letter->id, letter->source, headline, letter->length);
    output_ms(element, "received", letter->received_ms);
    output_ms(element, "died", letter->died_ms);
    output_text(element, "reason", letter->reason);
    output_bool(element, "replayed", letter->replayed);
    output_print(element);
}

/* Ends the walk without a reason once stdout takes no more: a pager may be closed before the end. */
static bool print_dead_page(void *context, const struct dead_page *found, struct error *why)
{
    struct dead_listing *list = context;
    (void)why;
    queue_rest(list->queue);
    for (size_t i = 0; i < found->count; i++) {
        if (list->json)
            print_letter_json(found->letter[i], &found->headline[i]);
        else
            print_letter(list, found->letter[i], &found->headline[i]);
    }
    return !ferror(stdout);
}

int command_dead_list(int argc, char **argv)
{
    struct dead_filter filter;
    struct dead_listing list = {.json = false};
    const struct option_spec specs[] = {{"--json", NULL, &list.json}};
    struct session session;
    struct error why = {0};
    int code;
    if (!dead_filter_read(&filter, argc, argv, specs, 1)) {
        code = COMMAND_USAGE;
    } else if (session_open(&session, argv[0])) {
        list.queue = session.queue;
        bool good = dead_filter_walk(session.queue, &filter, print_dead_page, &list, &why);
        bool is_whole = !good || filter.ids_found == filter.id_count || filter.id_count == 0; /* or cut by a pager */
        good = good || why.text[0] == '\0';
        session_close(&session);
        if (good && !list.json && list.lines == 0 && is_whole)
            fputs("no dead letter fits\n", stderr);
        if (good && !is_whole)
            error_set(&why, "%zu of the %zu that were named are not there, or do not fit",
                      filter.id_count - filter.ids_found, filter.id_count);
        code = good && is_whole ? COMMAND_OK : session_failed(argv[0], &why);
    } else {
        code = session.code;
    }
    dead_filter_free(&filter);
    return code;
}
