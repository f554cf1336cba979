/* A batch's body, piece by piece: see batch.h. */
#include "forward/batch.h"

#include <string.h>

#define KEEP_BYTES ((size_t)2 * 1024 * 1024)

const struct batch_form batch_for_data_plane = {"{\"batch\":[", ",", "]}"};
const struct batch_form batch_for_file = {"", "\n", "\n"};

struct buffer *batch_begin(struct batch *batch)
{
    batch->whole = batch->text.length;
    buffer_text(&batch->text, batch->count == 0 ? batch->form->head : batch->form->between);
    return &batch->text;
}

bool batch_accept(struct batch *batch)
{
    size_t length = batch->text.length + strlen(batch->form->tail);
    if (batch->text.failed || (batch->count > 0 && length > BATCH_BYTES)) {
        batch_reject(batch);
        return false;
    }
    batch->count++;
    return true;
}

void batch_reject(struct batch *batch)
{
    batch->text.length = batch->whole;
}

bool batch_finish(struct batch *batch)
{
    buffer_text(&batch->text, batch->form->tail);
    return !batch->text.failed;
}

void batch_clear(struct batch *batch)
{
    if (batch->text.capacity > KEEP_BYTES)
        buffer_free(&batch->text);
    buffer_clear(&batch->text);
    batch->count = 0;
}
