/* Opening one event: its bodies as people may see them. */
#include "status/status_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transform/headline.h"
#include "transform/shown.h"

#define SHOWN_MOST ((size_t)256 * 1024) /* bytes of a dead letter's body that are shown */

static const char cut_note[] = "Only its beginning is kept here.";

void bodies_free(struct bodies *bodies)
{
    buffer_free(&bodies->view.incoming);
    buffer_free(&bodies->view.message);
    free(bodies->whole);
    letters_free(&bodies->letters);
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
    transform_indent(bodies->whole->incoming, event->incoming_length, &view->incoming);
    transform_indent(bodies->whole->message, event->message_length, &view->message);
    return !view->incoming.failed && !view->message.failed;
}

static void describe_letter(struct recent_event *event, const struct letter *letter)
{
    struct headline headline;
    headline_read(&headline, letter->body, letter->length);
    snprintf(event->source, sizeof event->source, "%s", letter->source);
    headline_event(&headline, event->name, sizeof event->name);
    snprintf(event->lead, sizeof event->lead, "%s", headline.lead == NULL ? "" : headline.lead);
    snprintf(event->id, sizeof event->id, "%s", headline.id == NULL ? "" : headline.id);
    snprintf(event->state, sizeof event->state, "%s", letter->replayed ? "waiting" : "dead");
    snprintf(event->reason, sizeof event->reason, "%s", letter->reason);
    event->received_ms = letter->received_ms;
    event->ended_ms = letter->died_ms;
    event->bytes = letter->length;
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
static const char *show_body(const struct source *source, const struct letter *letter, struct buffer *out)
{
    struct excerpt excerpt = {.out = out};
    const struct layout layout = {.write = write_beginning, .context = &excerpt};
    size_t removed;
    if (source == NULL)
        return "Not shown: its source is configured no more, so nobody knows what is to be removed.";
    struct rules rules = {.remove = source->remove.at, .removes = source->remove.count};
    if (!shown_write(letter->body, letter->length, &rules, &layout, &removed))
        return "Not shown: `remove` is configured, and this body cannot be read.";
    return excerpt.cut ? "Only its beginning is shown here." : "";
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
    view->incoming_note = show_body(config_source(config, letter->source), letter, &view->incoming);
    view->message_note = "None was delivered.";
    return !view->incoming.failed;
}
