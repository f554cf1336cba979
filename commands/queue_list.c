/* queue list: the waiting events, oldest first. It reads a page, releases the queue's lock, and prints: a pager that is
 * left open must not block others. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/escape.h"
#include "base/text.h"
#include "base/times.h"
#include "commands/commands.h"
#include "commands/options.h"
#include "commands/output.h"
#include "commands/session.h"
#include "transform/headline.h"

#define PAGE_EVENTS 1000 /* for each the queue is opened anew */
#define PAGE_BYTES ((size_t)4 << 20)

struct queue_listing {
    struct session session;
    uint64_t left; /* events that may still be listed */
    bool json;
    size_t lines;
};

static void print_event_text(struct queue_listing *list, const char *source, const struct event *event,
                             const struct headline *headline)
{
    char date[WHEN_SIZE];
    if (list->lines++ == 0)
        printf("%-8s %-24s %9s %-12s %-28s %-28s %s\n", "ID", "RECEIVED", "BYTES", "SOURCE", "EVENT", "EVENT-ID",
               "LEAD");
    printf("%-8" PRIu64 " %-24s %9zu ", event->id, times_print_utc(event->received_ms, date), event->length);
    plain_column(stdout, source, 13);
    if (headline->name == NULL) {
        fputs("unusable: ", stdout);
        plain_column(stdout, headline->why.text, 0);
    } else {
        plain_column(stdout, headline->name, 29);
        plain_column(stdout, headline->id, 29);
        plain_column(stdout, headline->lead, 0);
    }
    fputs(event->replay ? " (a dead letter's replay)\n" : "\n", stdout);
}

static void print_event(struct queue_listing *list, const char *source, const struct event *event)
{
    struct headline headline;
    headline_read(&headline, event->body, event->length);
    if (!list->json) {
        print_event_text(list, source, event, &headline);
        return;
    }
    struct json_object *element = output_event(event->id, source, &headline, event->length);
    output_ms(element, "received", event->received_ms);
    output_bool(element, "replay", event->replay);
    output_print(element);
}

/* Lists one source's events, until stdout takes no more: a pager may be closed before the end. */
static bool list_source(struct queue_listing *list, const char *source, struct events *events, struct error *why)
{
    uint64_t after = 0;
    int found = 0;
    while (list->left > 0 && !ferror(stdout)) {
        size_t most = list->left < PAGE_EVENTS ? (size_t)list->left : PAGE_EVENTS;
        found = queue_list(list->session.queue, source, after, most, PAGE_BYTES, events, why);
        queue_rest(list->session.queue);
        if (found <= 0)
            break;
        for (size_t i = 0; i < events->count; i++)
            print_event(list, source, &events->at[i]);
        after = events->at[events->count - 1].id;
        list->left -= events->count;
    }
    return found >= 0;
}

static bool list_all(struct queue_listing *list, const char *source, struct error *why)
{
    struct events events = {NULL, 0, 0, {NULL, 0, 0, false}};
    struct strings names = {NULL, 0};
    bool known = false, good = queue_names(list->session.queue, &names, why);
    for (size_t i = 0; good && i < names.count; i++) {
        if (source != NULL && strcmp(names.at[i], source) != 0)
            continue;
        known = true;
        good = list_source(list, names.at[i], &events, why);
    }
    if (good && !known && source != NULL) {
        error_set(why, "the queue knows no source %.64s", source);
        good = false;
    }
    queue_names_free(&names);
    events_free(&events);
    return good;
}

int command_queue_list(int argc, char **argv)
{
    struct queue_listing list = {.left = UINT64_MAX};
    const char *source = NULL, *limit = NULL;
    const struct option_spec specs[] = {
        {"--source", &source, NULL}, {"--limit", &limit, NULL}, {"--json", NULL, &list.json}};
    struct error why = {0};
    if (!options_read(argc, argv, specs, sizeof specs / sizeof *specs, NULL))
        return COMMAND_USAGE;
    if (limit != NULL && !text_read_id(limit, &list.left))
        return options_wrong(argv[0], "--limit needs a whole number from 1 to %" PRId64 ", not \"%s\"", INT64_MAX,
                             limit);
    if (!session_open(&list.session, argv[0]))
        return list.session.code;
    bool good = list_all(&list, source, &why);
    session_close(&list.session);
    if (good && !list.json && list.lines == 0)
        fputs("nothing waits\n", stderr);
    return good ? COMMAND_OK : session_failed(argv[0], &why);
}
