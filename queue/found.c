/* Events and dead letters read from the queue: copied into one buffer, so that they are independent of the engine. See
 * engine.h. */
#include <stdlib.h>
#include <string.h>

#include "queue/engine.h"

void events_clear(struct events *found)
{
    found->count = 0;
    buffer_clear(&found->bodies);
}

bool events_add(struct events *found, const struct event *event)
{
    if (found->count == found->capacity) {
        size_t capacity = found->capacity == 0 ? 64 : found->capacity * 2;
        struct event *at = realloc(found->at, capacity * sizeof *at);
        if (at == NULL)
            return false;
        found->at = at;
        found->capacity = capacity;
    }
    buffer_append(&found->bodies, event->body, event->length);
    if (found->bodies.failed)
        return false;
    found->at[found->count++] = *event;
    return true;
}

void events_finish(struct events *found)
{
    size_t offset = 0;
    for (size_t i = 0; i < found->count; i++) {
        found->at[i].body = found->bodies.data + offset;
        offset += found->at[i].length;
    }
}

void events_free(struct events *events)
{
    free(events->at);
    buffer_free(&events->bodies);
    *events = (struct events){0};
}

void letters_clear(struct letters *found)
{
    found->count = 0;
    buffer_clear(&found->texts);
}

bool letters_add(struct letters *found, const struct letter *letter)
{
    if (found->count == found->capacity) {
        size_t capacity = found->capacity == 0 ? 64 : found->capacity * 2;
        struct letter *at = realloc(found->at, capacity * sizeof *at);
        if (at == NULL)
            return false;
        found->at = at;
        found->capacity = capacity;
    }
    buffer_append(&found->texts, letter->source, strlen(letter->source) + 1);
    buffer_append(&found->texts, letter->reason, strlen(letter->reason) + 1);
    buffer_append(&found->texts, letter->body, letter->length);
    if (found->texts.failed)
        return false;
    found->at[found->count++] = *letter;
    return true;
}

void letters_finish(struct letters *found)
{
    const char *text = found->texts.data;
    for (size_t i = 0; i < found->count; i++) {
        struct letter *letter = &found->at[i];
        letter->source = text;
        letter->reason = letter->source + strlen(letter->source) + 1;
        letter->body = letter->reason + strlen(letter->reason) + 1;
        text = letter->body + letter->length;
    }
}

void letters_free(struct letters *letters)
{
    free(letters->at);
    buffer_free(&letters->texts);
    *letters = (struct letters){0};
}
