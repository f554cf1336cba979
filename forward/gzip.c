/* gzip by ISA-L at level 1: as good as zlib's level 6 on these messages, at a tenth of the time. */
#include "forward/gzip.h"

#include <isa-l/igzip_lib.h>
#include <stdint.h>
#include <stdlib.h>

#define CALL_MOST (1U << 30) /* its lengths have 32 bits; a batch stays far below */

struct gzip {
    struct isal_zstream stream;
    uint8_t level_buffer[ISAL_DEF_LVL1_DEFAULT];
};

struct gzip *gzip_new(void)
{
    return calloc(1, sizeof(struct gzip));
}

void gzip_free(struct gzip *gzip)
{
    free(gzip);
}

bool gzip_compress(struct gzip *gzip, const char *data, size_t length, struct buffer *out)
{
    if (length > CALL_MOST)
        return false;
    /* What cannot be compressed is stored: 5 bytes for each 64 KiB, and gzip's head and tail. */
    size_t bound = length + (length / 65535 + 1) * 5 + 64;
    buffer_clear(out);
    char *room = buffer_room(out, bound);
    if (room == NULL)
        return false;

    struct isal_zstream *stream = &gzip->stream;
    isal_deflate_stateless_init(stream);
    stream->level = 1;
    stream->level_buf = gzip->level_buffer;
    stream->level_buf_size = sizeof gzip->level_buffer;
    stream->gzip_flag = IGZIP_GZIP;
    stream->end_of_stream = 1;
    stream->flush = NO_FLUSH;
    stream->next_in = (uint8_t *)(uintptr_t)data; /* read only, whatever its type says */
    stream->avail_in = (uint32_t)length;
    stream->next_out = (uint8_t *)room;
    stream->avail_out = (uint32_t)bound;
    if (isal_deflate_stateless(stream) != COMP_OK)
        return false;
    out->length = bound - stream->avail_out;
    return true;
}
