/* queue list and queue set-aside: the waiting events, and making one of them a dead letter. The list reads a page,
 * releases the queue's lock, and prints: a pager that is left open must not block others. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/escape.h"
#include "base/text.h"
#include "base/times.h"
#include "commands/commands.h"
#include "commands/commands_private.h"
#include "transform/shown.h"

#define PAGE_EVENTS 1000 /* for each the queue is opened anew */
#define PAGE_BYTES ((size_t)4 << 20)

struct queue_listing {
    struct session session;
    uint64_t left; /* events that may still be listed */
    bool json;
    bool failed; /* of a source, which was told */
    size_t lines;
    struct notes notes; /* of the source that is being listed */
};

/* Whether it failed, alone, and waits to be tried again so: nothing of its lead goes before. */
static bool is_held_back(const struct notes *notes, uint64_t id)
{
    for (uint32_t i = 0; i < notes->parked_count; i++) {
        if (notes->parked[i].id == id)
            return true;
    }
    return false;
}

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
    fputs(event->replay ? " (a dead letter's replay)" : "", stdout);
    puts(is_held_back(&list->notes, event->id) ? " (held back, with what follows of its lead: it failed)" : "");
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
    output_bool(element, "held_back", is_held_back(&list->notes, event->id));
    output_print(element);
}

/* Lists one source's events, until stdout takes no more: a pager may be closed before the end. */
static bool list_source(struct queue_listing *list, const char *source, struct events *events, struct error *why)
{
    uint64_t after = 0;
    int found = 0;
    struct error unmarked;
    if (!queue_notes(list->session.queue, source, &list->notes, &unmarked))
        list->notes.parked_count = 0; /* the events matter more than their marks */
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
        if (!list_source(list, names.at[i], &events, why)) {
            session_failed("queue list", why); /* those of other sources may be elsewhere */
            list->failed = true;
        }
    }
    if (good && !known && source != NULL) {
        good = false;
        if (!queue_missed(list->session.queue, why))
            error_set(why, "the queue knows no source %.64s", source);
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
    if (good && !list.failed && !list.json && list.lines == 0)
        fputs("nothing waits\n", stderr);
    int code = !good ? session_failed(argv[0], &why) : list.failed ? COMMAND_FAILED : COMMAND_OK;
    code = session_missed(&list.session, argv[0], source, code);
    session_close(&list.session);
    return code;
}

/* ---- queue set-aside: makes a waiting event a dead letter. The process that has claimed the queue carries it out, on
 * request; where none has, this command claims the queue for a moment. ---- */

#define PATIENCE_MS 10000 /* for the answer of the process that has claimed the queue */
#define LOOK_MS 50        /* at most; soon after it asked a process looks at once */
#define REMIND_MS 200

static const char not_answered[] =
    "the process that forwards has not answered for 10 s (it is another release's, or hangs): nothing was done; try "
    "again, or stop it first";

/* Waits for the answer of the process that has claimed the queue. *answer stays QUEUE_ASKED when no process took the
 * request in time, and it is withdrawn, or when this process could claim the queue (*owned): then it must act itself.
 */
static bool wait_for_answer(struct queue *queue, const struct queue_request *request, int64_t number, bool *owned,
                            enum queue_answer *answer, struct error *words, struct error *why)
{
    moment begin = clock_now(), reminded = begin;
    bool withdrawn = false;
    int pause_ms = 1;
    for (;;) {
        struct error unowned;
        if (!queue_answer(queue, number, answer, words, why))
            return false;
        if (*answer == QUEUE_DONE || *answer == QUEUE_REFUSED)
            return true;
        *owned = queue_claim(queue, &unowned) && queue_tenure(queue, request->source) != 0;
        bool late = clock_now() - begin >= PATIENCE_MS;
        if ((*owned || late) && !queue_withdraw(queue, number, *owned, &withdrawn, why))
            return false;
        if (*owned || withdrawn)
            return true;
        if (clock_now() - begin >= 2 * PATIENCE_MS) { /* taken, and never answered */
            error_set(words, "the process that forwards is at it, and has not said how it went: %s",
                      request->erases > 0 ? "call this again" : "`closecrm.fcgi dead list` shows whether it is one");
            *answer = QUEUE_REFUSED;
            return true;
        }
        if (clock_now() - reminded >= REMIND_MS) {
            queue_remind(queue);
            reminded = clock_now();
        }
        poll(NULL, 0, pause_ms);
        pause_ms = 2 * pause_ms < LOOK_MS ? 2 * pause_ms : LOOK_MS;
    }
}

/* Does it while this process has claimed the queue. */
static bool end_owned(struct queue *queue, const struct queue_request *request, size_t *ended, struct error *words)
{
    static const char reason[] = "set aside by an operator";
    const struct waiting_end one = {request->event, request->identity, request->remember};
    struct error why = {0};
    bool erases = request->erases > 0;
    bool good = queue_end_waiting(queue, request->source, erases ? VERDICT_ERASED : VERDICT_DEAD, reason,
                                  erases ? request->erase : &one, erases ? request->erases : 1, ended, &why);
    if (why.text[0] != '\0')
        *words = why;
    else if (good && !erases)
        error_set(words, "it is a dead letter now");
    else
        error_set(words, erases ? "some do not wait any more: they were delivered or settled just now"
                                : "it does not wait any more: it was delivered or settled just now");
    return good || (erases && why.text[0] == '\0');
}

/* Of a request to erase, whose answer begins with how many were. */
static void read_erased(const struct queue_request *request, size_t *ended, struct error *words)
{
    char *rest = words->text;
    unsigned long long count = strtoull(words->text, &rest, 10);
    *ended = count < request->erases ? (size_t)count : request->erases;
    memmove(words->text, rest + (*rest == ' '), strlen(rest + (*rest == ' ')) + 1);
}

bool end_waiting(struct queue *queue, const struct queue_request *request, size_t *ended, struct error *why)
{
    struct error words = {0};
    enum queue_answer answer = QUEUE_ASKED;
    int64_t number = 0;
    bool owned = queue_claim(queue, &words), withdrawn;
    *ended = 0;
    if (!owned && words.kind != ERROR_BUSY) {
        *why = words;
        return false;
    }
    owned = owned && queue_tenure(queue, request->source) != 0;
    if (!owned) {
        if (!queue_ask(queue, request, &number, why))
            return false;
        queue_remind(queue);
        if (!wait_for_answer(queue, request, number, &owned, &answer, &words, why))
            return false;
    }
    if (owned)
        return end_owned(queue, request, ended, why);
    queue_withdraw(queue, number, true, &withdrawn, &(struct error){0}); /* the answer was read */
    error_set(why, "%s", answer == QUEUE_REFUSED ? words.text : not_answered);
    if (answer != QUEUE_DONE)
        return false;
    *why = words;
    *ended = 1;
    if (request->erases > 0)
        read_erased(request, ended, why);
    return true;
}

void waiting_end_read(struct waiting_end *end, const struct event *event)
{
    struct error unusable;
    *end = (struct waiting_end){.event = event->id};
    end->remember = child_transform_identity(event->body, event->length, &end->identity, &unusable) == CHILD_MESSAGE;
}

static bool make_request(struct queue *queue, uint64_t id, const char *wanted, struct queue_request *request,
                         struct error *why)
{
    struct events events = {NULL, 0, 0, {NULL, 0, 0, false}};
    char source[SESSION_SOURCE];
    bool found = session_find_event(queue, id, wanted, source, &events, why);
    if (found) {
        struct waiting_end end;
        waiting_end_read(&end, &events.at[0]);
        *request = (struct queue_request){.event = end.event, .identity = end.identity, .remember = end.remember};
        snprintf(request->source, sizeof request->source, "%s", source);
    }
    events_free(&events);
    return found;
}

int command_queue_set_aside(int argc, char **argv)
{
    const char *source = NULL;
    const struct option_spec specs[] = {{"--source", &source, NULL}};
    struct queue_request request;
    uint64_t id;
    size_t ended;
    struct session session;
    struct error why = {0};
    if (!options_read_id(argc, argv, specs, 1, "which event? Give the number that `queue list` shows", &id))
        return COMMAND_USAGE;
    if (!session_open(&session, argv[0]))
        return session.code;
    bool good =
        make_request(session.queue, id, source, &request, &why) && end_waiting(session.queue, &request, &ended, &why);
    session_close(&session);
    if (!good)
        return session_failed(argv[0], &why);
    char list[OWN_COMMAND], replay[OWN_COMMAND];
    printf("event %" PRIu64
           " of source %s: %s; `%s` shows it, and `%s` with the number that it has there brings it back\n",
           id, request.source, why.text, own_command(list, NULL, NULL, "dead list"),
           own_command(replay, NULL, NULL, "dead replay ID"));
    return COMMAND_OK;
}
