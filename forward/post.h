/* Where messages go: a data plane or a file; and what its answers mean. */
#ifndef FORWARD_POST_H
#define FORWARD_POST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"
#include "config/config.h"

/* ---- answer.c: An answer of the data plane: what it means for the batch that it answers (the design's table), and how
 * long to wait before a batch is tried again. ---- */

#define ANSWER_BODY 1024 /* bytes of an answer's body that are looked at */

/* What came back, or why nothing did. */
struct answer {
    int status; /* HTTP; 0: no whole answer came, and error says why */
    char body[ANSWER_BODY];
    size_t length;          /* of the whole body: more than ANSWER_BODY when body has its start only */
    int64_t retry_after_ms; /* as asked by the data plane; 0: not */
    bool cut;               /* of status 0: it was connected, and the connection ended */
    bool silent;            /* of status 0: it was connected, and no end came within the limits */
    struct error error;
};

enum outcome {
    OUTCOME_DELIVERED, /* stored there */
    OUTCOME_RETRY,     /* it will pass: the same batch again, later */
    OUTCOME_REFUSED,  /* something in this batch may be at fault (400, 413), or a firewall refuses it (403, 404, 422) */
    OUTCOME_OPERATOR, /* somebody has to mend the key, the URL or the data plane */
};

/* accept_empty: an empty body of a 200 is a delivery too (the source's key of that name). */
enum outcome answer_outcome(const struct answer *answer, bool accept_empty);

/* Whether this is what a data plane answers to an empty batch when address and write key are good, in any
 * letter case. `check` and the forwarder both ask here. */
bool answer_takes_empty_batch(const struct answer *answer);

/* Says in words for people what came back: `the data plane answered 401 "invalid write key"`. */
void answer_describe(const struct answer *answer, struct error *why);

/* What an operator can do about a status, a sentence; NULL: nothing is known. */
const char *answer_advice(int status);

#define BACKOFF_FIRST_MS 1000
#define BACKOFF_MOST_MS (5 * 60 * 1000)
#define BACKOFF_ASKED_MOST_MS (15 * 60 * 1000) /* of what Retry-After asks for */

/* The delay in milliseconds after this many failed tries (1: the first failed): exponential from first_ms
 * (BACKOFF_FIRST_MS but in tests), with full jitter, so that many senders do not come back at the same moment.
 * retry_after_ms (0: none) is obeyed up to its bound. chance is a random number. */
int64_t answer_delay(int64_t first_ms, unsigned tries, int64_t retry_after_ms, uint64_t chance);

/* ---- post.c: POSTs to data planes: many at once, by libcurl's multi interface, over one pool of kept connections. One
 * thread. ---- */

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

/* ---- file_sink.c: file:// instead of a data plane: messages are appended to a file, a line each. The dry run. As
 * RudderStack's deduplication does, it leaves out a message whose messageId the file has already: the queue remembers
 * no delivery to a file, so that an event can be sent again once the file is removed. ---- */

/* All zero but for path; free with file_sink_free. One thread; several processes may share the file. */
struct file_sink {
    const char *path; /* borrowed; NULL: the source has a data plane */
    dev_t device;     /* of the file that was read, as the next two */
    ino_t inode;
    off_t read;          /* bytes of it that were looked through */
    void *newer, *older; /* messageIds: search trees (tsearch), of which the older one is given up first */
    size_t newer_count;
};

/* The path of a file:// address; NULL when it is another. Points into url. */
const char *file_sink_path(const char *url);

/* Appends lines, all or nothing, and syncs; without those whose messageId is known. The answer is as a data plane's:
 * 200 `ok`, or no answer with the reason. Without memory, and where the file cannot be read, nothing is left out. */
void file_sink_append(struct file_sink *sink, const char *lines, size_t length, struct answer *answer);

void file_sink_free(struct file_sink *sink);

#endif
