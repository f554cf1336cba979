/* Cuts what is read into JSON values, however they are laid out: one printed over many lines, one per line, several on
 * a line. Holds no more than the value in hand and its line. A broken value ends where the next whole event stands on a
 * line of its own, so that one bad line costs no other. */
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

/* Nothing comes any more: calls found for what is left, and frees the stream's memory. */
void stream_end(struct stream *stream);

#endif
