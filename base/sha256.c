/* Hashes: see sha256.h. */
#include "base/sha256.h"

#include <nettle/memops.h>
#include <nettle/version.h>

void sha256(const void *data, size_t length, unsigned char out[static SHA256_BYTES])
{
    struct sha256_ctx context;
    sha256_init(&context);
    sha256_update(&context, length, data);
#if NETTLE_VERSION_MAJOR >= 4
    sha256_digest(&context, out);
#else
    sha256_digest(&context, SHA256_BYTES, out);
#endif
}

void hmac_begin(struct hmac *hmac, const void *key, size_t length)
{
    hmac_sha256_set_key(&hmac->context, length, key);
}

void hmac_add(struct hmac *hmac, const void *data, size_t length)
{
    hmac_sha256_update(&hmac->context, length, data);
}

void hmac_end(struct hmac *hmac, unsigned char out[static SHA256_BYTES])
{
#if NETTLE_VERSION_MAJOR >= 4
    hmac_sha256_digest(&hmac->context, out);
#else
    hmac_sha256_digest(&hmac->context, SHA256_BYTES, out);
#endif
}

bool secrets_equal(const void *a, const void *b, size_t length)
{
    return memeql_sec(a, b, length) != 0;
}
