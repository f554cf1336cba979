/* Opening one event: see bodies.h. */
#include "status/bodies.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "status/glance.h"
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

bool bodies_of_event(struct bodies *bodies, struct look *look, uint64_t number)
{
    bodies->whole = calloc(1, sizeof *bodies->whole);
    if (bodies->whole == NULL || !look_event(look, number, bodies->whole))
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

static void describe(struct recent_event *event, const struct letter *letter)
{
    struct glance glance;
    glance_at(letter->body, letter->length, &glance);
    snprintf(event->source, sizeof event->source, "%s", letter->source);
    snprintf(event->name, sizeof event->name, "%s", glance.name[0] == '\0' ? "(unreadable)" : glance.name);
    snprintf(event->lead, sizeof event->lead, "%s", glance.lead);
    snprintf(event->id, sizeof event->id, "%s", glance.id);
    snprintf(event->state, sizeof event->state, "%s", letter->replayed ? "waiting" : "dead");
    snprintf(event->reason, sizeof event->reason, "%s", letter->reason);
    event->received_ms = letter->received_ms;
    event->ended_ms = letter->died_ms;
    event->bytes = letter->length;
}

/* Appends what may be seen of the body. Returns the note on it. */
static const char *show(const struct source *source, const struct letter *letter, struct buffer *out)
{
    static const struct rules nothing;
    struct rules rules = nothing;
    struct buffer shown = {0};
    if (source != NULL)
        rules = (struct rules){.remove = source->remove.at, .removes = source->remove.count};
    /* What crashes the program when it is read is not read here again. */
    bool crashes = strstr(letter->reason, "crashed the program") != NULL;
    if (source == NULL || (crashes && rules.removes > 0) ||
        !transform_shown(letter->body, letter->length, &rules, &shown)) {
        buffer_free(&shown);
        return source == NULL ? "Not shown: its source is configured no more, so nobody knows what is to be removed."
                              : "Not shown: `remove` is configured, and this body cannot be read.";
    }
    bool cut = shown.length > SHOWN_MOST;
    transform_indent(shown.data, cut ? SHOWN_MOST : shown.length, out);
    buffer_free(&shown);
    return cut ? "Only its beginning is shown here." : "";
}

bool bodies_of_letter(struct bodies *bodies, const struct config *config, struct look *look, uint64_t id)
{
    if (!look_letter(look, id, &bodies->letters))
        return false;
    const struct letter *letter = &bodies->letters.at[0];
    struct view_bodies *view = &bodies->view;
    describe(&bodies->event, letter);
    view->event = &bodies->event;
    view->title = bodies->event.name;
    view->incoming_note = show(config_source(config, letter->source), letter, &view->incoming);
    view->message_note = "None was delivered.";
    return !view->incoming.failed;
}
