/* POSTs to data planes: many at once, by libcurl's multi interface, over one pool of kept connections. One thread. */
#ifndef FORWARD_POST_H
#define FORWARD_POST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "config/config.h"
#include "forward/answer.h"

struct poster; /* the pool */
struct post;   /* a place for one POST at a time, always to the same address */

/* When an exchange ends without its end. Not its length is limited, but silence: a slow uplink and a slow data plane
 * come to an end too, and what is given up has to be sent again whole. */
struct post_limits {
    int64_t connect_ms;  /* until it is connected, resolving included */
    int64_t silence_ms;  /* no byte in either direction, once connected; also while the answer is waited for */
    int64_t whole_ms;    /* in all */
    size_t answer_bytes; /* of an answer's body that are read; then its status counts, and the connection is dropped */
};

extern const struct post_limits post_limits_usual;

/* Returns NULL with the reason. */
struct poster *poster_new(struct error *why);

/* Other limits than the usual ones, for tests. Before the first post_start. */
void poster_limit(struct poster *poster, const struct post_limits *limits);

/* A place for POSTs to a source's data plane, with its first write key. owner is what post_owner gives back. Returns
 * NULL with the reason. config and source must outlive it. */
struct post *post_new(struct poster *poster, const struct config *config, const struct source *source, void *owner,
                      struct error *why);

/* Starts it: a gzip-compressed body, borrowed until the post is done. Returns false with the reason. */
bool post_start(struct post *post, const char *body, size_t length, struct error *why);

/* Moves all POSTs on and returns one that is done, whose answer can be read, or NULL. */
struct post *poster_done(struct poster *poster);

/* Sleeps until a POST can move on, one of the descriptors is readable, or the time is over (ms; -1: no limit). */
void poster_wait(struct poster *poster, const int *descriptors, size_t count, int timeout_ms);

void *post_owner(const struct post *post);

/* What came back; valid until the next post_start. */
const struct answer *post_answer(const struct post *post);

/* Does one POST and waits for it. The same contracts. */
const struct answer *post_and_wait(struct poster *poster, struct post *post, const char *body, size_t length);

void post_free(struct post *post);

/* All its posts must be freed. */
void poster_free(struct poster *poster);

/* Compression of a batch, in gzip's format. */
struct gzip;

/* Returns NULL when memory is out. One thread at a time. */
struct gzip *gzip_new(void);

/* Replaces what out holds by the compressed data. Returns false when memory is out. */
bool gzip_compress(struct gzip *gzip, const char *data, size_t length, struct buffer *out);

void gzip_free(struct gzip *gzip);

#endif
