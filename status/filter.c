/* Looking for events: by text, type, lead and state. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "status/status_private.h"

bool filter_read(struct event_filter *filter, const struct request *request)
{
    request_query(request, "text", filter->text, sizeof filter->text);
    request_query(request, "type", filter->type, sizeof filter->type);
    request_query(request, "lead", filter->lead, sizeof filter->lead);
    request_query(request, "state", filter->state, sizeof filter->state);
    return filter->text[0] != '\0' || filter->type[0] != '\0' || filter->lead[0] != '\0' || filter->state[0] != '\0';
}

/* A name is "activity.email created"; typed, it may be as in the configuration: "activity.email.created". */
static bool fits_type(const char *name, const char *type)
{
    for (; *type != '\0'; name++, type++) {
        if (*name == '\0' || (strncasecmp(name, type, 1) != 0 && !(*name == ' ' && *type == '.')))
            return false;
    }
    return true;
}

static bool holds(const char *body, size_t length, const char *text)
{
    size_t wanted = strlen(text);
    for (size_t i = 0; i + wanted <= length; i++) {
        if (strncasecmp(body + i, text, wanted) == 0)
            return true;
    }
    return false;
}

/* Only what is shown is looked at, so nothing of what `remove` names can be guessed. Of an event that waits the body is
 * not. whole: room for one; NULL: bodies are not looked at. */
static bool has_text(const char *text, struct queue_view *queue_view, const struct recent_event *event,
                     struct recent_whole *whole)
{
    const char *const shown[] = {event->name, event->id, event->lead, event->source, event->reason};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        if (strcasestr(shown[i], text) != NULL)
            return true;
    }
    if (event->number == 0 || whole == NULL || !queue_view_event(queue_view, event->number, whole))
        return false;
    return holds(whole->incoming, whole->event.incoming_length, text) ||
           holds(whole->message, whole->event.message_length, text);
}

size_t filter_events(const struct event_filter *filter, struct queue_view *queue_view, struct recent_event *events,
                     size_t count)
{
    struct recent_whole *whole = filter->text[0] == '\0' ? NULL : calloc(1, sizeof *whole);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        const struct recent_event *event = &events[i];
        if ((filter->state[0] != '\0' && strcmp(filter->state, event->state) != 0) ||
            (filter->lead[0] != '\0' && strcmp(filter->lead, event->lead) != 0) ||
            !fits_type(event->name, filter->type) ||
            (filter->text[0] != '\0' && !has_text(filter->text, queue_view, event, whole)))
            continue;
        if (kept != i)
            events[kept] = *event;
        kept++;
    }
    free(whole);
    return kept;
}
