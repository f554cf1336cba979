/* The body under construction (lane.c): messages one after another, in the form that the data plane or the file takes.
 */
#ifndef FORWARD_BATCH_H
#define FORWARD_BATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

/* Below the data plane's 4,096,000 bytes, which it counts after decompression. */
#define BATCH_BYTES ((size_t)3900 * 1024)

/* How messages stand together. */
struct batch_form {
    const char *head, *between, *tail;
};

extern const struct batch_form batch_for_data_plane; /* {"batch":[a,b]} */
extern const struct batch_form batch_for_file;       /* a line each */

struct batch {
    const struct batch_form *form;
    struct buffer text; /* without the tail */
    size_t count;       /* of messages */
    size_t whole;       /* length of text up to the last message that is in */
};

/* Where the next message goes: appends what stands before it and returns the text, to append the message to. Then
 * call batch_accept or batch_reject. */
struct buffer *batch_begin(struct batch *batch);

/* The message is in. Returns false, with the message taken out again, when it does not fit: memory is out
 * (text.failed), or the batch would be larger than BATCH_BYTES and has others already: one alone always fits. */
bool batch_accept(struct batch *batch);

/* Takes out again what batch_begin and its caller appended. */
void batch_reject(struct batch *batch);

/* Appends the tail; text is then what is to be sent. Returns false when memory is out. */
bool batch_finish(struct batch *batch);

/* Empties it and keeps its memory, up to a bound: one huge event must not be paid for for ever. */
void batch_clear(struct batch *batch);

#endif
