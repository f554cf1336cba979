/* Growing bytes: see buffer.h. */
#include "base/buffer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

char *buffer_room(struct buffer *buffer, size_t length)
{
    if (buffer->failed)
        return NULL;
    if (length <= buffer->capacity - buffer->length)
        return buffer->data + buffer->length;
    if (length > SIZE_MAX / 2 - buffer->length) {
        buffer->failed = true;
        return NULL;
    }
    size_t needed = buffer->length + length;
    size_t capacity = buffer->capacity < 256 ? 256 : buffer->capacity;
    while (capacity < needed)
        capacity += capacity / 2;
    char *data = realloc(buffer->data, capacity);
    if (data == NULL) {
        buffer->failed = true;
        return NULL;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return data + buffer->length;
}

void buffer_append(struct buffer *buffer, const void *data, size_t length)
{
    if (length == 0)
        return;
    char *room = buffer_room(buffer, length);
    if (room == NULL)
        return;
    memcpy(room, data, length);
    buffer->length += length;
}

void buffer_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

void buffer_clear(struct buffer *buffer)
{
    buffer->length = 0;
    buffer->failed = false;
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}
