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

/* The prepared keys of one source. Immutable once prepared: any thread. */
struct signers {
    EVP_MAC_CTX **keyed; /* one per key, copied for each request */
    size_t count;
};

/* The signature headers of a request. */
struct signature {
    const char *timestamp; /* the header's text, borrowed */
    int64_t seconds;       /* the same as Unix time */
    unsigned char hash[SIGNATURE_BYTES];
};

enum signature_result {
    SIGNATURE_GOOD,
    SIGNATURE_WRONG,
    SIGNATURE_FAILED, /* out of memory: the result is unknown */
};

/* Prepares the keys. Returns false when memory or the algorithm is missing; then nothing needs freeing. */
bool signers_init(struct signers *signers, const struct signature_key *keys, size_t count);

void signers_free(struct signers *signers);

/* Parses a timestamp: digits only, at most 15, so that its milliseconds fit. Returns false otherwise. */
bool signature_read_timestamp(struct signature *signature, const char *text);

/* Parses a hash: 64 hexadecimal digits. Returns false otherwise. */
bool signature_read_hash(struct signature *signature, const char *text);

/* The timestamp's age in milliseconds at now_ms (Unix time); negative for a timestamp in the future. */
int64_t signature_age_ms(const struct signature *signature, int64_t now_ms);

/* Whether the absolute age is within the tolerance. */
bool signature_is_current(const struct signature *signature, int64_t now_ms, int64_t tolerance_ms);

/* Checks whether one of the keys made this signature over the raw body; *which (may be NULL): the first that did, when
 * SIGNATURE_GOOD. Constant time: all keys are always tried. */
enum signature_result signature_find(const struct signature *signature, const struct signers *signers, const char *body,
                                     size_t length, size_t *which);

/* Makes the signature over the raw body with this timestamp's text. Returns false when out of memory. */
bool signature_sign(const struct signature_key *key, const char *timestamp, const char *body, size_t length,
                    unsigned char hash[static SIGNATURE_BYTES]);

/* As signature_find, without telling which key. */
enum signature_result signature_check(const struct signature *signature, const struct signers *signers,
                                      const char *body, size_t length);

#endif
