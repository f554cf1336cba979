/* SHA-256 (FIPS 180-4) and HMAC-SHA256 (RFC 2104) by nettle, whose interface is to change with its version 4: it is
 * known here only. Not by libcrypto: a CGI request needs nothing else of that, and loading and initialising it takes
 * three times as long as a whole CGI program that does nothing. Any thread, each context by one at a time. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>

#include <nettle/hmac.h>

#define SHA256_BYTES SHA256_DIGEST_SIZE

void sha256(const void *data, size_t length, unsigned char out[static SHA256_BYTES]);

/* A message authentication code that is being made; as a copy of one with the key it is cheaper than anew. */
struct hmac {
    struct hmac_sha256_ctx context;
};

void hmac_begin(struct hmac *hmac, const void *key, size_t length);
void hmac_add(struct hmac *hmac, const void *data, size_t length);
void hmac_end(struct hmac *hmac, unsigned char out[static SHA256_BYTES]);

/* Whether secrets are the same, in a time that does not tell where they differ. */
bool secrets_equal(const void *a, const void *b, size_t length);

#endif
