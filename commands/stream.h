/* Splits input into JSON values, however they are laid out: one over many lines, one a line, several on a line. Holds
 * no more than the current value and its line. A broken value ends before the next line that is a whole event, so that
 * one bad line spoils no other. */
#ifndef COMMANDS_STREAM_H
#define COMMANDS_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

/* What was found: a value, or text that is none; borrowed during the call. */
struct piece {
    const char *text;
    size_t length;
    size_t line; /* in which it begins, from 1 */
    size_t from; /* bytes of that line before it */
};

struct stream {
    void (*found)(void *context, const struct piece *piece);
    void *context;

    struct buffer pending; /* from the beginning of the line in which the value in hand begins */
    size_t start;          /* of the value in hand, in pending */
    size_t scanned;        /* bytes of pending that were looked at */
    size_t lines;          /* fed so far */
    size_t first_line;     /* of pending */
    size_t depth;          /* of brackets that are open */
    bool in_string;
    bool escaped; /* the last byte was a backslash in a string */
};

/* Takes the next line, with its newline where it has one, and calls found for each value that it completes. Initialize
 * a stream with found and context, the rest zero. Returns false when memory ran out. */
bool stream_feed(struct stream *stream, const char *line, size_t length);

/* The end of input: calls found for what is left, and frees the stream's memory. */
void stream_end(struct stream *stream);

#endif
