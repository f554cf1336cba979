/* An answer of the data plane: what it means for the batch that it answers (the design's table), and how long to wait
 * before a batch is tried again. */
#ifndef FORWARD_ANSWER_H
#define FORWARD_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

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

/* Whether the data plane itself failed while it worked on this batch (5xx, cut, silence): one message may be the
 * cause. */
bool answer_is_failure(const struct answer *answer);

/* Whether the batch may have been too much at once (silence, cut, 408): less is sent then. */
bool answer_is_too_much(const struct answer *answer);

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

#endif
