/* Close's signature: hex(HMAC-SHA256(key, timestamp + raw body)), in the headers close-sig-hash and
 * close-sig-timestamp. Pure: no clock, no I/O. */
#ifndef WEBHOOK_SIGNATURE_H
#define WEBHOOK_SIGNATURE_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"

#define SIGNATURE_BYTES 32

/* The keys of one source, ready to sign with. Only read once it is made: any thread. */
struct signers {
    EVP_MAC_CTX **keyed; /* one for each key, copied for each request */
    size_t count;
};

/* What a request claims. */
struct signature {
    const char *timestamp; /* the header's text, borrowed */
    int64_t seconds;       /* the same, as unix time */
    unsigned char hash[SIGNATURE_BYTES];
};

enum signature_result {
    SIGNATURE_GOOD,
    SIGNATURE_WRONG,
    SIGNATURE_FAILED, /* out of memory: nothing is known */
};

/* Prepares the keys. Returns false when memory or the algorithm is missing; then nothing is to be freed. */
bool signers_init(struct signers *signers, const struct signature_key *keys, size_t count);

void signers_free(struct signers *signers);

/* Reads a timestamp: digits only, at most 15, so that its milliseconds can be counted. Returns false otherwise. */
bool signature_read_timestamp(struct signature *signature, const char *text);

/* Reads a hash: 64 hex digits. Returns false otherwise. */
bool signature_read_hash(struct signature *signature, const char *text);

/* By how many milliseconds the timestamp is before (positive) or after (negative) now, in unix milliseconds. */
int64_t signature_age_ms(const struct signature *signature, int64_t now_ms);

/* Whether the age is within the tolerance, to both sides. */
bool signature_is_current(const struct signature *signature, int64_t now_ms, int64_t tolerance_ms);

/* Whether one of the keys made this signature over the body as it came. All keys are tried, whatever matches, and each
 * comparison takes the same time: how long it takes tells nothing about them. */
/* *which: the first of the keys that did, when the result is GOOD; may be NULL. */
enum signature_result signature_find(const struct signature *signature, const struct signers *signers, const char *body,
                                     size_t length, size_t *which);

/* The same for who does not want to know which. */
enum signature_result signature_check(const struct signature *signature, const struct signers *signers,
                                      const char *body, size_t length);

#endif
