/* hex(HMAC-SHA256(decoded key, timestamp + body)) */
#include "tests/support/signature.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"

static size_t decode(const char *hex, unsigned char *key, size_t size)
{
    size_t length = strlen(hex) / 2;
    for (size_t i = 0; i < length && i < size; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        key[i] = (unsigned char)strtoul(digits, NULL, 16);
    }
    return length < size ? length : size;
}

struct signature signature_make(const char *key_hex, struct slice body, int64_t unix_seconds)
{
    struct signature signature = {{0}, {0}};
    unsigned char key[64], hash[EVP_MAX_MD_SIZE];
    size_t key_length = decode(key_hex, key, sizeof key);
    char stamp[24];
    int64_t when = unix_seconds == 0 ? clock_unix_ms() / 1000 : unix_seconds;
    int stamp_length = snprintf(stamp, sizeof stamp, "%lld", (long long)when);

    struct buffer signed_bytes = {.data = NULL};
    buffer_append(&signed_bytes, stamp, (size_t)stamp_length);
    buffer_append(&signed_bytes, body.at, body.length);
    if (signed_bytes.failed || HMAC(EVP_sha256(), key, (int)key_length, (const unsigned char *)signed_bytes.data,
                                    signed_bytes.length, hash, NULL) == NULL)
        abort();
    buffer_free(&signed_bytes);

    int at = snprintf(signature.hash, sizeof signature.hash, "close-sig-hash: ");
    for (size_t i = 0; i < 32; i++)
        at += snprintf(signature.hash + at, sizeof signature.hash - (size_t)at, "%02x", hash[i]);
    snprintf(signature.timestamp, sizeof signature.timestamp, "close-sig-timestamp: %s", stamp);
    return signature;
}
