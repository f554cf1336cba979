/* Bytes that grow: what is built piece by piece (a message, a batch, a body) before it goes somewhere. */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

/* All zero is an empty buffer. One thread at a time. */
struct buffer {
    char *data; /* NULL until something was appended */
    size_t length;
    size_t capacity;
    bool failed; /* memory ran out: what was appended since is missing. Check once, at the end. */
};

/* Appends bytes; on failure sets failed and appends nothing from then on. */
void buffer_append(struct buffer *buffer, const void *data, size_t length);

/* Appends a C string. */
void buffer_text(struct buffer *buffer, const char *text);

/* Makes room for length more bytes and returns where they go, or NULL (failed is set). The caller adds to length. */
char *buffer_room(struct buffer *buffer, size_t length);

/* Empties it and keeps its memory. */
void buffer_clear(struct buffer *buffer);

/* Gives its memory back; it may be used again. */
void buffer_free(struct buffer *buffer);

#endif
