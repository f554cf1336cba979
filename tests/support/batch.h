/* A request body as the data plane reads it: unpacked, limited in size, parsed, judged, and cut into messages. */
#ifndef TESTS_SUPPORT_BATCH_H
#define TESTS_SUPPORT_BATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "tests/support/slice.h"

#define DATA_PLANE_MAX_BODY ((size_t)4096000) /* bytes, after decompression */

/* One message of a batch. */
struct batch_message {
    struct slice json; /* as it stood in the body */
    char *message_id;  /* decoded; "" when it had none */
};

/* All zero is empty. */
struct received_batch {
    struct batch_message *messages;
    size_t count;
};

/* What the data plane says instead of "ok"; status 0 when it has nothing to say. */
struct refusal {
    int status;
    const char *text;
};

/* Unpacks a gzip body, up to one byte beyond DATA_PLANE_MAX_BODY. Returns false when it is broken. */
bool batch_unpack(struct slice packed, struct buffer *body);

/* Reads {"batch": [...]}, or one message when single (as /v1/track takes it). The slices borrow from body, which must
 * be followed by a NUL. Returns the data plane's refusal; its batch is empty then. Free with batch_free. */
struct refusal batch_read(struct slice body, bool single, struct received_batch *batch);

void batch_free(struct received_batch *batch);

#endif
