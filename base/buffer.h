/* A growing byte buffer, for output that is built piece by piece (a message, a batch, a body). */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

/* Zero-initialized: an empty buffer. Not thread-safe. */
struct buffer {
    char *data; /* NULL until something was appended */
    size_t length;
    size_t capacity;
    bool failed; /* out of memory: everything appended since is missing. Check once, at the end. */
};

/* Appends bytes; on failure sets failed and appends nothing from then on. */
void buffer_append(struct buffer *buffer, const void *data, size_t length);

/* Appends a C string. */
void buffer_text(struct buffer *buffer, const char *text);

/* Reserves length bytes and returns a pointer to them, or NULL (failed is set). The caller adds to length. */
char *buffer_room(struct buffer *buffer, size_t length);

/* Sets the length to 0 and keeps the memory. */
void buffer_clear(struct buffer *buffer);

/* Frees the memory; the buffer may be used again. */
void buffer_free(struct buffer *buffer);

#endif
