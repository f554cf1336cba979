/* The same keyed HMAC that webhook/ checks with, to its end: see sign.h. */
#include "commands/sign.h"

#include <string.h>

#include "base/text.h"
#include "webhook/signature.h"

_Static_assert(SIGN_HEX_SIZE == 2 * SIGNATURE_BYTES + 1, "two digits a byte and a NUL");

bool sign_body(const struct signature_key *key, const char *timestamp, const char *body, size_t length,
               char out[static SIGN_HEX_SIZE])
{
    struct signers signers;
    unsigned char hash[SIGNATURE_BYTES];
    size_t written = 0;
    if (!signers_init(&signers, key, 1))
        return false;
    EVP_MAC_CTX *hmac = signers.keyed[0];
    bool signed_it = EVP_MAC_update(hmac, (const unsigned char *)timestamp, strlen(timestamp)) &&
                     EVP_MAC_update(hmac, (const unsigned char *)body, length) &&
                     EVP_MAC_final(hmac, hash, &written, sizeof hash) && written == sizeof hash;
    if (signed_it)
        text_hex_encode(hash, sizeof hash, out);
    signers_free(&signers);
    return signed_it;
}
