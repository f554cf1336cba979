/* Close's signature: see signature.h. */
#include "webhook/signature.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define TIMESTAMP_DIGITS 15

static EVP_MAC_CTX *keyed_context(EVP_MAC *hmac, const struct signature_key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_END};
    EVP_MAC_CTX *context = EVP_MAC_CTX_new(hmac);
    if (context == NULL || EVP_MAC_init(context, key->bytes, key->length, parameters) == 1)
        return context;
    EVP_MAC_CTX_free(context);
    return NULL;
}

/* Prepares keys until one fails. Returns how many were prepared. */
static size_t prepare_keys(EVP_MAC_CTX **keyed, EVP_MAC *hmac, const struct signature_key *keys, size_t count)
{
    size_t ready = 0;
    while (ready < count && (keyed[ready] = keyed_context(hmac, &keys[ready])) != NULL)
        ready++;
    return ready;
}

bool signers_init(struct signers *signers, const struct signature_key *keys, size_t count)
{
    *signers = (struct signers){0};
    if (count == 0)
        return true;
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX **keyed = calloc(count, sizeof(EVP_MAC_CTX *));
    size_t ready = hmac != NULL && keyed != NULL ? prepare_keys(keyed, hmac, keys, count) : 0;
    EVP_MAC_free(hmac);
    *signers = (struct signers){.keyed = keyed, .count = ready};
    if (ready == count)
        return true;
    signers_free(signers);
    return false;
}

void signers_free(struct signers *signers)
{
    for (size_t i = 0; signers->keyed != NULL && i < signers->count; i++)
        EVP_MAC_CTX_free(signers->keyed[i]);
    free(signers->keyed);
    *signers = (struct signers){0};
}

bool signature_read_timestamp(struct signature *signature, const char *text)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > TIMESTAMP_DIGITS || text[digits] != '\0')
        return false;
    signature->timestamp = text;
    signature->seconds = strtoll(text, NULL, 10);
    return true;
}

bool signature_read_hash(struct signature *signature, const char *text)
{
    return strlen(text) == 2 * SIGNATURE_BYTES && text_hex_decode(text, 2 * SIGNATURE_BYTES, signature->hash);
}

int64_t signature_age_ms(const struct signature *signature, int64_t now_ms)
{
    return now_ms - signature->seconds * 1000;
}

bool signature_is_current(const struct signature *signature, int64_t now_ms, int64_t tolerance_ms)
{
    int64_t age = signature_age_ms(signature, now_ms);
    return age <= tolerance_ms && -age <= tolerance_ms;
}

/* Signs with a copy of a keyed context, which is cheaper than setting the key again, and threads share nothing. */
static bool sign(EVP_MAC_CTX *keyed, const struct signature *signature, const char *body, size_t length,
                 unsigned char hash[static SIGNATURE_BYTES])
{
    size_t written = 0;
    EVP_MAC_CTX *context = EVP_MAC_CTX_dup(keyed);
    bool done = context != NULL &&
                EVP_MAC_update(context, (const unsigned char *)signature->timestamp, strlen(signature->timestamp)) &&
                EVP_MAC_update(context, (const unsigned char *)body, length) &&
                EVP_MAC_final(context, hash, &written, SIGNATURE_BYTES) && written == SIGNATURE_BYTES;
    EVP_MAC_CTX_free(context);
    return done;
}

enum signature_result signature_find(const struct signature *signature, const struct signers *signers, const char *body,
                                     size_t length, size_t *which)
{
    int good = 0, failed = 0;
    size_t found = 0;
    for (size_t i = signers->count; i-- > 0;) {
        unsigned char hash[SIGNATURE_BYTES] = {0};
        failed |= !sign(signers->keyed[i], signature, body, length, hash);
        int matches = CRYPTO_memcmp(hash, signature->hash, SIGNATURE_BYTES) == 0;
        found = matches ? i : found;
        good |= matches;
    }
    if (which != NULL)
        *which = found;
    if (failed)
        return SIGNATURE_FAILED;
    return good ? SIGNATURE_GOOD : SIGNATURE_WRONG;
}

enum signature_result signature_check(const struct signature *signature, const struct signers *signers,
                                      const char *body, size_t length)
{
    return signature_find(signature, signers, body, length, NULL);
}

bool signature_sign(const struct signature_key *key, const char *timestamp, const char *body, size_t length,
                    unsigned char hash[static SIGNATURE_BYTES])
{
    struct signers signers;
    size_t written = 0;
    if (!signers_init(&signers, key, 1))
        return false;
    EVP_MAC_CTX *hmac = signers.keyed[0];
    bool made = EVP_MAC_update(hmac, (const unsigned char *)timestamp, strlen(timestamp)) &&
                EVP_MAC_update(hmac, (const unsigned char *)body, length) &&
                EVP_MAC_final(hmac, hash, &written, SIGNATURE_BYTES) && written == SIGNATURE_BYTES;
    signers_free(&signers);
    return made;
}
