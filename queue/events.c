/* Events taken from the queue: copies in one buffer, so that they outlive what the engine does next. */
#include <stdlib.h>

#include "queue/engine.h"

void events_clear(struct events *found)
{
    found->count = 0;
    buffer_clear(&found->bodies);
}

bool events_add(struct events *found, uint64_t id, const char *body, size_t length)
{
    if (found->count == found->capacity) {
        size_t capacity = found->capacity == 0 ? 64 : found->capacity * 2;
        struct event *at = realloc(found->at, capacity * sizeof *at);
        if (at == NULL)
            return false;
        found->at = at;
        found->capacity = capacity;
    }
    buffer_append(&found->bodies, body, length);
    if (found->bodies.failed)
        return false;
    found->at[found->count++] = (struct event){.id = id, .body = NULL, .length = length};
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
