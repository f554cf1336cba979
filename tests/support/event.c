/* Events of a likely kind: what must be left out (null, changed_fields, previous_data) stands between what must stay,
 * and numbers and strings are such that a careless reader would alter them. */
#include "tests/support/event.h"

#include <stdlib.h>

static void both(struct event_text *event, const char *text)
{
    buffer_text(&event->body, text);
    buffer_text(&event->properties, text);
}

/* "name":"value", */
static void member(struct event_text *event, const char *name, const char *value)
{
    both(event, "\"");
    both(event, name);
    both(event, "\":\"");
    both(event, value);
    both(event, "\",");
}

static void fill(struct event_text *event, size_t length)
{
    char *room[] = {buffer_room(&event->body, length), buffer_room(&event->properties, length)};
    if (room[0] == NULL || room[1] == NULL)
        abort();
    for (size_t i = 0; i < length; i++)
        room[0][i] = room[1][i] = (char)('a' + (i * i / 7 + i) % 26);
    event->body.length += length;
    event->properties.length += length;
}

void event_make(struct event_text *event, const struct event_options *options)
{
    buffer_clear(&event->body);
    buffer_clear(&event->properties);
    buffer_text(&event->body, "{\"event\":");
    both(event, "{");
    member(event, "id", options->id);
    member(event, "object_type", "activity.email");
    member(event, "action", "updated");
    member(event, "date_updated", options->updated != NULL ? options->updated : "2019-01-15T12:48:23.395000");
    buffer_text(&event->body,
                "\"changed_fields\":[\"note\"],\"previous_data\":{\"note\":\"before\"},\"user_id\":null,");
    if (options->lead != NULL)
        member(event, "lead_id", options->lead);
    else
        buffer_text(&event->body, "\"lead_id\":null,");
    member(event, "object_id", options->id);
    both(event, "\"data\":{");
    member(event, "note", options->note == NULL ? "" : options->note);
    buffer_text(&event->body, "\"date_lost\":null,");
    both(event, "\"value\":1234567890123456789012345,\"rate\":1.10,\"zero\":-0,\"list\":[null,1e2,{}],"
                "\"text\":\"caf\xc3\xa9 \\\"q\\\" \\\\ \\n a/b\",\"custom.cf_1\":[\"x\",\"\"],");
    both(event, "\"body_text\":\"");
    if (options->filler > 0)
        fill(event, options->filler);
    both(event, "\"}");
    buffer_text(&event->properties, ",\"subscription_id\":\"whsub_test\"}");
    buffer_text(&event->body, "},\"subscription_id\":\"whsub_test\"}");
    if (event->body.failed || event->properties.failed)
        abort();
}

struct slice event_body(const struct event_text *event)
{
    return (struct slice){event->body.data, event->body.length};
}

struct slice event_properties(const struct event_text *event)
{
    return (struct slice){event->properties.data, event->properties.length};
}

void event_free(struct event_text *event)
{
    buffer_free(&event->body);
    buffer_free(&event->properties);
}
