/* Opening one event: its bodies as people may see them. */
#include "status/status_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transform/shown.h"

#define SHOWN_MOST ((size_t)256 * 1024) /* bytes of a dead letter's body that are shown */

static const char cut_note[] = "Only its beginning is kept here.";

void bodies_free(struct bodies *bodies)
{
    buffer_free(&bodies->view.incoming);
    buffer_free(&bodies->view.message);
    free(bodies->whole);
    letters_free(&bodies->letters);
    events_free(&bodies->events);
}

static const char *message_note(const struct recent_event *event)
{
    if (event->message_length > 0)
        return event->message_cut ? cut_note : "";
    return strcmp(event->state, "delivered") == 0 ? "It is too large to be kept here." : "None was sent.";
}

bool bodies_of_event(struct bodies *bodies, struct queue_view *queue_view, uint64_t number)
{
    bodies->whole = calloc(1, sizeof *bodies->whole);
    if (bodies->whole == NULL || !queue_view_event(queue_view, number, bodies->whole))
        return false;
    const struct recent_event *event = &bodies->whole->event;
    struct view_bodies *view = &bodies->view;
    view->event = event;
    view->title = event->name;
    view->incoming_note = event->incoming_length == 0 ? "It is too large or unreadable, and not kept here."
                          : event->incoming_cut       ? cut_note
                                                      : "";
    view->message_note = message_note(event);
    view->attempts = bodies->whole->attempts;
    memcpy(view->attempt, bodies->whole->attempt, view->attempts * sizeof *view->attempt);
    transform_indent(bodies->whole->incoming, event->incoming_length, &view->incoming);
    transform_indent(bodies->whole->message, event->message_length, &view->message);
    return !view->incoming.failed && !view->message.failed;
}

static void describe_letter(struct recent_event *event, const struct letter *letter)
{
    queue_view_describe(event, letter->source, letter->body, letter->length);
    snprintf(event->state, sizeof event->state, "%s", letter->replayed ? "waiting" : "dead");
    snprintf(event->reason, sizeof event->reason, "%s", letter->reason);
    event->received_ms = letter->received_ms;
    event->ended_ms = letter->died_ms;
}

struct excerpt {
    struct buffer *out;
    bool cut;
};

static void write_beginning(void *context, const char *text, size_t length)
{
    struct excerpt *excerpt = context;
    size_t left = excerpt->out->length < SHOWN_MOST ? SHOWN_MOST - excerpt->out->length : 0;
    excerpt->cut = excerpt->cut || length > left;
    buffer_append(excerpt->out, text, length < left ? length : left);
}

/* Appends what may be seen of the body. Returns the note on it. */
static const char *show_body(const struct source *source, const char *body, size_t length, struct buffer *out)
{
    struct excerpt excerpt = {.out = out};
    const struct layout layout = {.write = write_beginning, .context = &excerpt};
    size_t removed;
    if (source == NULL)
        return "Not shown: its source is configured no more, so nobody knows what is to be removed.";
    struct rules rules = {.remove = source->remove.at, .removes = source->remove.count};
    if (!shown_write(body, length, &rules, &layout, &removed))
        return "Not shown: `remove` is configured, and this body cannot be read.";
    return excerpt.cut ? "Only its beginning is shown here." : "";
}

/* Those of a dead letter stand in the sample, where it ended. */
static void find_attempts(struct view_bodies *view, struct queue_view *queue_view)
{
    struct recent_event *list = calloc(RECENT_COUNT, sizeof *list);
    struct recent_whole *whole = calloc(1, sizeof *whole);
    const struct recent_event *event = view->event;
    size_t count = list == NULL || whole == NULL || event->id[0] == '\0' ? 0 : queue_view_recent(queue_view, list);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].state, "dead") != 0 || strcmp(list[i].id, event->id) != 0 ||
            strcmp(list[i].source, event->source) != 0)
            continue;
        if (queue_view_event(queue_view, list[i].number, whole)) {
            view->attempts = whole->attempts;
            memcpy(view->attempt, whole->attempt, whole->attempts * sizeof *whole->attempt);
        }
        break;
    }
    free(whole);
    free(list);
}

bool bodies_of_letter(struct bodies *bodies, const struct config *config, struct queue_view *queue_view, uint64_t id)
{
    if (!queue_view_letter(queue_view, id, &bodies->letters))
        return false;
    const struct letter *letter = &bodies->letters.at[0];
    struct view_bodies *view = &bodies->view;
    describe_letter(&bodies->event, letter);
    view->event = &bodies->event;
    view->title = bodies->event.name;
    view->incoming_note =
        show_body(config_source(config, letter->source), letter->body, letter->length, &view->incoming);
    view->message_note = "None was delivered.";
    find_attempts(view, queue_view);
    return !view->incoming.failed;
}

/* It may have ended since the page was made. */
static bool find_ended(struct bodies *bodies, struct queue_view *queue_view, const char *source, uint64_t id)
{
    struct recent_event *list = calloc(RECENT_COUNT, sizeof *list);
    uint64_t number = 0;
    size_t count = list == NULL ? 0 : queue_view_recent(queue_view, list);
    for (size_t i = 0; i < count && number == 0; i++) {
        if (list[i].queue_id == id && strcmp(list[i].source, source) == 0)
            number = list[i].number;
    }
    free(list);
    return number > 0 && bodies_of_event(bodies, queue_view, number);
}

bool bodies_of_waiting(struct bodies *bodies, const struct config *config, struct queue_view *queue_view,
                       const char *source, uint64_t id)
{
    if (!queue_view_waiting(queue_view, source, id, &bodies->events))
        return find_ended(bodies, queue_view, source, id);
    const struct event *waiting = &bodies->events.at[0];
    struct view_bodies *view = &bodies->view;
    struct recent_event *event = &bodies->event;
    queue_view_describe(event, source, waiting->body, waiting->length);
    snprintf(event->state, sizeof event->state, "waiting");
    event->queue_id = id;
    event->received_ms = waiting->received_ms;
    view->event = event;
    view->title = event->name;
    view->incoming_note = show_body(config_source(config, source), waiting->body, waiting->length, &view->incoming);
    view->message_note = "It is made when it is sent.";
    view->attempts = queue_view_attempts(queue_view, source, id, waiting->received_ms, view->attempt);
    return !view->incoming.failed;
}
