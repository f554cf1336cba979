/* Compression of a batch, in gzip's format. */
#ifndef FORWARD_GZIP_H
#define FORWARD_GZIP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

struct gzip;

/* Returns NULL when memory is out. One thread at a time. */
struct gzip *gzip_new(void);

/* Replaces what out holds by the compressed data. Returns false when memory is out. */
bool gzip_compress(struct gzip *gzip, const char *data, size_t length, struct buffer *out);

void gzip_free(struct gzip *gzip);

#endif
